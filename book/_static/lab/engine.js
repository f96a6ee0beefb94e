/* The networks: logits of one image, and the gradient by its pixels.

   lensLab.makeEngine(convolve) -> { compile, wasm }.  convolve: the base64 of the compiled convolve.wat, or null for
   plain loops; where the browser refuses WebAssembly the loops are taken too.  The function is self-contained, because
   backend.js sends its text to a worker.

   compile(net) -> { shape, classes, forward(x) -> logits, backward(g) -> gradient }.  backward belongs to the last
   forward, and each result lasts until the next call.  net = { shape: [C, H, W], classes: [names], layers: [[name,
   ...settings]], numbers: base64 of the float16 weights in the order of the layers }, as book/_ext/lab_assets.py
   writes it.  Images are Float32Array, (C, H, W). */
"use strict";
(globalThis.lensLab ??= {}).makeEngine = function makeEngine(convolve) {
  /* What a layer is made of: (shape of its input, take(count) -> its next weights, ...settings)
     -> { forward, backward, shape of its output if that is another }.  Neither function changes what it is given, and
     each writes its result into the same array every time. */
  const LAYERS = { normalize, batchnorm, conv, linear, relu, sigmoid, maxpool, avgpool, mean, residual };

  function compile({ shape, classes, layers, numbers: base64 }) {
    const weights = float16(base64);
    let used = 0;
    const take = (count) => weights.subarray(used, used += count);
    const net = chain(layers, shape, take);
    if (used !== weights.length || net.shape[0] !== classes.length)
      throw new Error("these weights belong to other layers");
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

  const size = (shape) => shape[0] * shape[1] * shape[2];
  const numbers = (shape) => new Float32Array(size(shape));

  function float16(base64) {
    const bytes = atob(base64), weights = new Float32Array(bytes.length / 2);
    for (let i = 0; i < weights.length; i++) {
      const bits = bytes.charCodeAt(2 * i) | bytes.charCodeAt(2 * i + 1) << 8;
      const exponent = bits >> 10 & 31, fraction = bits & 1023, sign = bits >> 15 ? -1 : 1;
      weights[i] = sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
    }
    return weights;
  }

  /* --- layers that work on each number alone ---------------------------------------------------------------------- */

  /* scale[c] * x + shift[c] */
  function perChannel(shape, scale, shift) {
    const area = shape[1] * shape[2], y = numbers(shape), d = numbers(shape);
    return {
      forward(x) {
        for (let c = 0, i = 0; c < shape[0]; c++) {
          const factor = scale[c], plus = shift[c];
          for (const end = i + area; i < end; i++) y[i] = factor * x[i] + plus;
        }
        return y;
      },
      backward(g) {
        for (let c = 0, i = 0; c < shape[0]; c++) {
          const factor = scale[c];
          for (const end = i + area; i < end; i++) d[i] = factor * g[i];
        }
        return d;
      },
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
  function relu(shape) {
    const y = numbers(shape), d = numbers(shape);
    return {
      forward(x) {
        for (let i = 0; i < y.length; i++) y[i] = Math.max(x[i], 0);
        return y;
      },
      backward(g) {
        for (let i = 0; i < d.length; i++) d[i] = y[i] > 0 ? g[i] : 0;
        return d;
      },
    };
  }

  function sigmoid(shape) {
    const y = numbers(shape), slope = numbers(shape), d = numbers(shape);
    return {
      forward(x) {
        for (let i = 0; i < y.length; i++) {
          const value = 1 / (1 + Math.exp(-x[i]));
          y[i] = value;
          slope[i] = value / (1 + Math.exp(x[i]));  // not value (1 - value), which is 0 long before the slope is
        }
        return y;
      },
      backward(g) {
        for (let i = 0; i < d.length; i++) d[i] = slope[i] * g[i];
        return d;
      },
    };
  }

  /* --- layers that mix numbers ------------------------------------------------------------------------------------ */

  function linear(shape, take, outputs) {
    const inputs = size(shape), weight = take(inputs * outputs), bias = take(outputs);
    const turned = new Float32Array(weight.length);
    for (let o = 0, w = 0; o < outputs; o++) for (let i = 0; i < inputs; i++, w++) turned[i * outputs + o] = weight[w];
    return {
      shape: [outputs, 1, 1],
      forward: product(weight, inputs, bias),
      backward: product(turned, outputs, new Float32Array(inputs)),
    };
  }

  /* x -> matrix x + plus.  Four sums at a time, so that no addition waits for the last one. */
  function product(matrix, columns, plus) {
    const y = new Float32Array(plus.length);
    return (x) => {
      for (let row = 0, at = 0; row < y.length; row++) {
        let a = plus[row], b = 0, c = 0, d = 0, i = 0;
        for (; i + 3 < columns; i += 4, at += 4) {
          a += matrix[at] * x[i];
          b += matrix[at + 1] * x[i + 1];
          c += matrix[at + 2] * x[i + 2];
          d += matrix[at + 3] * x[i + 3];
        }
        for (; i < columns; i++, at++) a += matrix[at] * x[i];
        y[row] = a + b + (c + d);
      }
      return y;
    };
  }

  /* visit(place of the output, first pixel of its window) for windows of side x side that do not overlap */
  function windows([channels, height, width], side, visit) {
    const rows = Math.floor(height / side), columns = Math.floor(width / side);
    for (let c = 0, o = 0; c < channels; c++)
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < columns; j++, o++) visit(o, (c * height + i * side) * width + j * side);
  }

  const pooled = ([channels, height, width], side) => [channels, Math.floor(height / side), Math.floor(width / side)];

  /* Of equal pixels the first one in reading order is the maximum, and gets the slope, as in torch. */
  function maxpool(shape, take, side) {
    const width = shape[2], out = pooled(shape, side), chosen = new Int32Array(size(out));
    const y = numbers(out), d = numbers(shape);
    return {
      shape: out,
      forward(x) {
        windows(shape, side, (o, corner) => {
          let best = corner;
          for (let u = 0; u < side; u++)
            for (let v = 0, p = corner + u * width; v < side; v++, p++) if (x[p] > x[best]) best = p;
          y[o] = x[best];
          chosen[o] = best;
        });
        return y;
      },
      backward(g) {
        d.fill(0);
        for (let o = 0; o < chosen.length; o++) d[chosen[o]] = g[o];
        return d;
      },
    };
  }

  function avgpool(shape, take, side) {
    const width = shape[2], out = pooled(shape, side), area = side * side, y = numbers(out), d = numbers(shape);
    return {
      shape: out,
      forward(x) {
        windows(shape, side, (o, corner) => {
          let sum = 0;
          for (let u = 0; u < side; u++) for (let v = 0, p = corner + u * width; v < side; v++, p++) sum += x[p];
          y[o] = sum / area;
        });
        return y;
      },
      backward(g) {
        windows(shape, side, (o, corner) => {
          for (let u = 0; u < side; u++) for (let v = 0, p = corner + u * width; v < side; v++, p++) d[p] = g[o] / area;
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
    const f = chain(layers, shape, take), y = numbers(shape), d = numbers(shape);
    const add = (to, a, b) => {
      for (let i = 0; i < to.length; i++) to[i] = a[i] + b[i];
      return to;
    };
    return { forward: (x) => add(y, f.forward(x), x), backward: (g) => add(d, f.backward(g), g) };
  }

  function conv([channels, height, width], take, outputs, side, padding) {
    const weight = take(outputs * channels * side * side), bias = take(outputs);
    const at = (o, c, u, v) => weight[((o * channels + c) * side + u) * side + v];
    const forward = correlation([channels, height, width], outputs, side, padding, at, bias);
    // The gradient is such a correlation too: kernels turned by half a turn, inputs and outputs exchanged.
    const turned = (c, o, u, v) => at(o, c, side - 1 - u, side - 1 - v);
    const backward = correlation(forward.shape, channels, side, side - 1 - padding, turned, new Float32Array(channels));
    return { shape: forward.shape, forward: forward.apply, backward: backward.apply };
  }

  /* --- the one product that takes the time: see convolve.wat ------------------------------------------------------ */

  /* y[o][i][j] = bias[o] + sum over c, u, v of at(o, c, u, v) x[c][i + u - padding][j + v - padding] */
  function correlation([channels, height, width], outputs, side, padding, at, bias) {
    const tall = height + 2 * padding, wide = width + 2 * padding, rows = tall - side + 1, columns = wide - side + 1;
    const m = upTo(outputs, 4), n = upTo((rows - 1) * wide + columns, 8), k = channels * side * side;
    const frame = room(channels * tall * wide + 8), offsets = room(k), weights = room(m * k);
    const y = numbers([outputs, rows, columns]);
    share(m * n);
    const packed = floats(weights, m * k), places = new Int32Array(memory.buffer, offsets, k);
    for (let c = 0, r = 0; c < channels; c++)
      for (let u = 0; u < side; u++)
        for (let v = 0; v < side; v++, r++) {
          places[r] = 4 * ((c * tall + u) * wide + v);
          for (let o = 0; o < outputs; o++) packed[((o >> 2) * k + r) * 4 + (o & 3)] = at(o, c, u, v);
        }
    const apply = (x) => {
      const padded = floats(frame, channels * tall * wide);  // its border stays 0
      for (let c = 0, from = 0; c < channels; c++)
        for (let i = 0; i < height; i++) {
          const to = (c * tall + i + padding) * wide + padding;
          for (let j = 0; j < width; j++, from++) padded[to + j] = x[from];
        }
      kernel(frame, offsets, weights, shared.at, m, n, k);
      const out = floats(shared.at, m * n);
      for (let o = 0, to = 0; o < outputs; o++) {
        const plus = bias[o];
        for (let i = 0; i < rows; i++)
          for (let j = 0, from = o * n + i * wide; j < columns; j++, from++, to++) y[to] = out[from] + plus;
      }
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

  /* --- memory that kernel and loops share: addresses in bytes ----------------------------------------------------- */

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
  function room(count) {
    const address = free;
    free += 4 * upTo(count, 4);
    if (free > memory.buffer.byteLength) memory.grow(Math.ceil((free - memory.buffer.byteLength) / 65536));
    return address;
  }

  function share(count) {
    if (count > shared.size) Object.assign(shared, { at: room(count), size: count });
  }

  function floats(address, count) {
    return new Float32Array(memory.buffer, address, count);
  }

  function upTo(number, multiple) {
    return Math.ceil(number / multiple) * multiple;
  }

  return { compile, wasm: wasm !== null };
};
