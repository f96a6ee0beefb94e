/* The networks: logits of one image, and the gradient by its pixels.

   lensLab.makeEngine(convolve) -> { compile, wasm }.  convolve: the base64 of the compiled convolve.wat, or null for
   plain loops; where the browser refuses WebAssembly the loops are taken too.  The function is self-contained, because
   backend.js sends its text to a worker.

   compile(net) -> { shape, classes, forward(x) -> logits, backward(g) -> gradient }.  backward belongs to the last
   forward.  net = { shape: [C, H, W], classes: [names], layers: [[name, ...settings]], numbers: base64 of the float16
   weights in the order of the layers }, as book/_ext/lab_assets.py writes it.  Images are Float32Array, (C, H, W). */
"use strict";
(globalThis.lensLab ??= {}).makeEngine = function makeEngine(convolve) {
  /* What a layer is made of: (shape of its input, take(count) -> its next weights, ...settings)
     -> { forward, backward, shape of its output if that is another }.  Neither function changes what it is given. */
  const LAYERS = { normalize, batchnorm, conv, linear, relu, sigmoid, maxpool, avgpool, mean, residual };

  function compile({ shape, classes, layers, numbers }) {
    const weights = float16(numbers);
    let used = 0;
    const take = (count) => weights.subarray(used, used += count);
    const net = chain(layers, shape, take);
    if (used !== weights.length || net.shape[0] !== classes.length) throw new Error("these weights belong to other layers");
    return { shape, classes, forward: net.forward, backward: net.backward };
  }

  function chain(layers, shape, take) {
    const made = layers.map(([name, ...settings]) => {
      if (!(name in LAYERS)) throw new Error(`the engine knows no layer "${name}"`);
      const layer = LAYERS[name](shape, take, ...settings);
      shape = layer.shape ?? shape;
      return layer;
    });
    return {
      shape,
      forward: (x) => made.reduce((value, layer) => layer.forward(value), x),
      backward: (g) => made.reduceRight((slope, layer) => layer.backward(slope), g),
    };
  }

  function float16(base64) {
    const bytes = atob(base64), numbers = new Float32Array(bytes.length / 2);
    for (let i = 0; i < numbers.length; i++) {
      const bits = bytes.charCodeAt(2 * i) | bytes.charCodeAt(2 * i + 1) << 8;
      const exponent = bits >> 10 & 31, fraction = bits & 1023, sign = bits >> 15 ? -1 : 1;
      numbers[i] = sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
    }
    return numbers;
  }

  /* --- layers that work on each number alone ---------------------------------------------------------------------- */

  /* scale[c] * x + shift[c] */
  function perChannel([channels, height, width], scale, shift) {
    const area = height * width;
    const map = (x, value) => {
      const y = new Float32Array(x.length);
      for (let c = 0, i = 0; c < channels; c++) for (let end = i + area; i < end; i++) y[i] = value(x[i], c);
      return y;
    };
    return {
      forward: (x) => map(x, (v, c) => scale[c] * v + shift[c]),
      backward: (g) => map(g, (v, c) => scale[c] * v),
    };
  }

  function normalize(shape, take, means, deviations) {
    return perChannel(shape, deviations.map((s) => 1 / s), means.map((m, c) => -m / deviations[c]));
  }

  function batchnorm(shape, take, eps) {
    const [weight, bias, mean, variance] = [0, 1, 2, 3].map(() => Array.from(take(shape[0])));
    const scale = weight.map((w, c) => w / Math.sqrt(variance[c] + eps));
    return perChannel(shape, scale, bias.map((b, c) => b - mean[c] * scale[c]));
  }

  /* The slope at 0 is 0, as torch has it. */
  function relu() {
    let input;
    return {
      forward(x) {
        input = x;
        const y = new Float32Array(x.length);
        for (let i = 0; i < y.length; i++) y[i] = x[i] > 0 ? x[i] : 0;
        return y;
      },
      backward(g) {
        const d = new Float32Array(g.length);
        for (let i = 0; i < d.length; i++) d[i] = input[i] > 0 ? g[i] : 0;
        return d;
      },
    };
  }

  function sigmoid() {
    let slope;
    return {
      forward(x) {
        const y = new Float32Array(x.length);
        slope = new Float32Array(x.length);
        for (let i = 0; i < y.length; i++) {
          const value = 1 / (1 + Math.exp(-x[i]));
          y[i] = value;
          slope[i] = value / (1 + Math.exp(x[i]));  // not value (1 - value), which is 0 long before the slope is
        }
        return y;
      },
      backward: (g) => g.map((v, i) => v * slope[i]),
    };
  }

  /* --- layers that mix numbers ------------------------------------------------------------------------------------ */

  function linear([channels, height, width], take, outputs) {
    const inputs = channels * height * width, weight = take(inputs * outputs), bias = take(outputs);
    return {
      shape: [outputs, 1, 1],
      forward(x) {
        const y = new Float32Array(outputs);
        for (let o = 0, w = 0; o < outputs; o++) {
          let sum = bias[o];
          for (let i = 0; i < inputs; i++, w++) sum += weight[w] * x[i];
          y[o] = sum;
        }
        return y;
      },
      backward(g) {
        const d = new Float64Array(inputs);
        for (let o = 0, w = 0; o < outputs; o++) for (let i = 0; i < inputs; i++, w++) d[i] += weight[w] * g[o];
        return Float32Array.from(d);
      },
    };
  }

  /* visit(place of the output, first pixel of its window) for windows of size x size that do not overlap */
  function windows([channels, height, width], size, visit) {
    const rows = Math.floor(height / size), columns = Math.floor(width / size);
    for (let c = 0, o = 0; c < channels; c++)
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < columns; j++, o++) visit(o, (c * height + i * size) * width + j * size);
  }
  const pooled = ([channels, height, width], size) => [channels, Math.floor(height / size), Math.floor(width / size)];
  const count = (shape) => shape[0] * shape[1] * shape[2];

  /* Of equal pixels the first one in reading order is the maximum, and gets the slope, as in torch. */
  function maxpool(shape, take, size) {
    const width = shape[2], out = pooled(shape, size), chosen = new Int32Array(count(out));
    return {
      shape: out,
      forward(x) {
        const y = new Float32Array(chosen.length);
        windows(shape, size, (o, corner) => {
          let best = corner;
          for (let u = 0; u < size; u++)
            for (let v = 0, p = corner + u * width; v < size; v++, p++) if (x[p] > x[best]) best = p;
          y[o] = x[best];
          chosen[o] = best;
        });
        return y;
      },
      backward(g) {
        const d = new Float32Array(count(shape));
        for (let o = 0; o < g.length; o++) d[chosen[o]] = g[o];
        return d;
      },
    };
  }

  function avgpool(shape, take, size) {
    const width = shape[2], out = pooled(shape, size), area = size * size;
    return {
      shape: out,
      forward(x) {
        const y = new Float32Array(count(out));
        windows(shape, size, (o, corner) => {
          let sum = 0;
          for (let u = 0; u < size; u++) for (let v = 0, p = corner + u * width; v < size; v++, p++) sum += x[p];
          y[o] = sum / area;
        });
        return y;
      },
      backward(g) {
        const d = new Float32Array(count(shape));
        windows(shape, size, (o, corner) => {
          for (let u = 0; u < size; u++) for (let v = 0, p = corner + u * width; v < size; v++, p++) d[p] = g[o] / area;
        });
        return d;
      },
    };
  }

  function mean(shape) {
    return avgpool(shape, null, shape[1]);
  }

  /* x + f(x) */
  function residual(shape, take, layers) {
    const f = chain(layers, shape, take), plus = (a, b) => a.map((v, i) => v + b[i]);
    return { forward: (x) => plus(f.forward(x), x), backward: (g) => plus(f.backward(g), g) };
  }

  function conv([channels, height, width], take, outputs, size, padding) {
    const weight = take(outputs * channels * size * size), bias = take(outputs);
    const at = (o, c, u, v) => weight[((o * channels + c) * size + u) * size + v];
    const forward = correlation([channels, height, width], outputs, size, padding, at, bias);
    // The gradient is such a correlation too: kernels turned by half a turn, inputs and outputs exchanged.
    const turned = (c, o, u, v) => at(o, c, size - 1 - u, size - 1 - v);
    const backward = correlation(forward.shape, channels, size, size - 1 - padding, turned, new Float32Array(channels));
    return { shape: forward.shape, forward: forward.apply, backward: backward.apply };
  }

  /* --- the one product that takes the time: see convolve.wat ------------------------------------------------------ */

  /* y[o][i][j] = bias[o] + sum over c, u, v of at(o, c, u, v) x[c][i + u - padding][j + v - padding] */
  function correlation([channels, height, width], outputs, size, padding, at, bias) {
    const tall = height + 2 * padding, wide = width + 2 * padding, rows = tall - size + 1, columns = wide - size + 1;
    const m = upTo(outputs, 4), n = upTo((rows - 1) * wide + columns, 8), k = channels * size * size;
    const frame = room(channels * tall * wide + 8), offsets = room(k), weights = room(m * k);
    share(m * n);
    const packed = floats(weights, m * k), places = new Int32Array(memory.buffer, offsets, k);
    for (let c = 0, r = 0; c < channels; c++)
      for (let u = 0; u < size; u++)
        for (let v = 0; v < size; v++, r++) {
          places[r] = 4 * ((c * tall + u) * wide + v);
          for (let o = 0; o < outputs; o++) packed[((o >> 2) * k + r) * 4 + (o & 3)] = at(o, c, u, v);
        }
    const apply = (x) => {
      const padded = floats(frame, channels * tall * wide);  // its border stays 0
      for (let c = 0, from = 0; c < channels; c++)
        for (let i = 0; i < height; i++, from += width)
          padded.set(x.subarray(from, from + width), (c * tall + i + padding) * wide + padding);
      kernel(frame, offsets, weights, shared.at, m, n, k);
      const out = floats(shared.at, m * n), y = new Float32Array(outputs * rows * columns);
      for (let o = 0, to = 0; o < outputs; o++)
        for (let i = 0; i < rows; i++)
          for (let j = 0, from = o * n + i * wide; j < columns; j++, from++, to++) y[to] = out[from] + bias[o];
      return y;
    };
    return { shape: [outputs, rows, columns], apply };
  }

  /* The twin of convolve.wat, with its arguments: the same sums, in double precision. */
  function plainConvolve(frame, offsets, weights, out, m, n, k) {
    const x = new Float32Array(memory.buffer, frame), y = floats(out, m * n), w = floats(weights, m * k);
    const places = new Int32Array(memory.buffer, offsets, k).map((bytes) => bytes / 4);
    for (let i = 0; i < m; i += 4)
      for (let j = 0; j < n; j += 2) {
        let a0 = 0, a1 = 0, b0 = 0, b1 = 0, c0 = 0, c1 = 0, d0 = 0, d1 = 0;
        for (let r = 0, p = i * k; r < k; r++, p += 4) {
          const left = x[j + places[r]], right = x[j + 1 + places[r]];
          a0 += w[p] * left; a1 += w[p] * right;
          b0 += w[p + 1] * left; b1 += w[p + 1] * right;
          c0 += w[p + 2] * left; c1 += w[p + 2] * right;
          d0 += w[p + 3] * left; d1 += w[p + 3] * right;
        }
        const to = i * n + j;
        y[to] = a0; y[to + 1] = a1;
        y[to + n] = b0; y[to + n + 1] = b1;
        y[to + 2 * n] = c0; y[to + 2 * n + 1] = c1;
        y[to + 3 * n] = d0; y[to + 3 * n + 1] = d1;
      }
  }

  /* --- memory that kernel and loops share: addresses in bytes ------------------------------------------------------ */

  const wasm = start(convolve);
  const memory = wasm ? wasm.memory : {
    buffer: new ArrayBuffer(65536),
    grow(pages) {
      const larger = new Uint8Array(this.buffer.byteLength + 65536 * pages);
      larger.set(new Uint8Array(this.buffer));
      this.buffer = larger.buffer;
    },
  };
  const kernel = wasm ? wasm.convolve : plainConvolve;
  const shared = { at: 0, size: 0 };  // where every convolution leaves its result
  let free = 0;

  function start(base64) {
    if (!base64) return null;
    try {
      const code = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      return new WebAssembly.Instance(new WebAssembly.Module(code)).exports;
    } catch (refused) {  // a policy without 'wasm-unsafe-eval', an old browser, a locked-down mode
      console.info(`advlens lab: no WebAssembly (${refused.message}); plain loops instead`);
      return null;
    }
  }

  /* The address of so many new numbers, all 0. */
  function room(numbers) {
    const address = free;
    free += 4 * upTo(numbers, 4);
    if (free > memory.buffer.byteLength) memory.grow(Math.ceil((free - memory.buffer.byteLength) / 65536));
    return address;
  }

  function share(numbers) {
    if (numbers > shared.size) Object.assign(shared, { at: room(numbers), size: numbers });
  }

  function floats(address, numbers) {
    return new Float32Array(memory.buffer, address, numbers);
  }

  function upTo(number, multiple) {
    return Math.ceil(number / multiple) * multiple;
  }

  return { compile, wasm: wasm !== null };
};
