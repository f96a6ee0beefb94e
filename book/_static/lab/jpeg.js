/* JPEG: what the codec leaves of an image, and how an attack goes through it.

   lensLab.makeCodec() -> { roundTrip, pullBack }.  Self-contained, because backend.js sends its text to a worker.

   roundTrip(x, [C, H, W], quality) -> Float32Array: the image in [0, 1] that comes back from a file of this quality (1
   to 100; C = 1 or 3, colours 4:2:0).  These are libjpeg's bytes: its integer arithmetic, in numbers that hold 53 bits.
   pullBack(g, [C, H, W]) -> Float64Array: the gradient by the image, from the one by the result, when every rounding
   and clipping counts as the identity (straight-through; athalye2018).  What is left is linear: the identity for grey
   images, the loss of resolution of the colours otherwise.  Sources: wallace1992; lib/advlens/kernels/jpeg.py. */
"use strict";
(globalThis.lensLab ??= {}).makeCodec = function makeCodec() {
  // The tables of the standard for quality 50; rows are vertical frequencies.
  const LUMINANCE = [
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99];
  const CHROMINANCE = [
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    ...Array(32).fill(99)];
  // sqrt(8) times the DCT of 8 numbers, in units of 2^-13 (row: frequency), with the roundings of libjpeg's own.
  const DCT = [
    [8192, 8192, 8192, 8192, 8192, 8192, 8192, 8192],
    [11363, 9633, 6437, 2260, -2260, -6437, -9633, -11363],
    [10703, 4433, -4433, -10703, -10703, -4433, 4433, 10703],
    [9633, -2259, -11362, -6436, 6436, 11362, 2259, -9633],
    [8192, -8192, -8192, 8192, 8192, -8192, -8192, 8192],
    [6437, -11362, 2261, 9633, -9633, -2261, 11362, -6437],
    [4433, -10704, 10704, -4433, -4433, 10704, -10704, 4433],
    [2260, -6436, 9633, -11363, 11363, -9633, 6436, -2260]];
  const transposed = (matrix) => matrix.map((_, i) => matrix.map((row) => row[i]));
  const INVERSE = transposed(DCT);
  // Colours, in units of 2^-16: R, G, B -> Y, Cb, Cr and back.
  const TO_YCC = [[19595, 38470, 7471], [-11058, -21710, 32768], [32768, -27439, -5329]];
  const TO_RGB = [[65536, 0, 91881], [65536, -22554, -46802], [65536, 116130, 0]];

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  /* To the nearest whole number, ties to the even one. */
  function round(value) {
    const below = Math.floor(value), rest = value - below;
    return rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below;
  }

  function tables(quality) {
    if (!Number.isInteger(quality) || quality < 1 || quality > 100)
      throw new RangeError(`jpeg = ${quality}; give a whole number from 1 to 100, or null`);
    const percent = quality < 50 ? Math.floor(5000 / quality) : 200 - 2 * quality;
    return [LUMINANCE, CHROMINANCE].map((base) => base.map((q) => clamp(Math.floor((q * percent + 50) / 100), 1, 255)));
  }

  function roundTrip(x, [channels, height, width], quality) {
    const [luminance, chrominance] = tables(quality), area = height * width;
    const levels = Float64Array.from(x, (v) => round(Math.fround(v * 255)));
    if (channels === 1) return Float32Array.from(coded(levels, height, width, luminance), (v) => v / 255);
    const planes = [0, 1, 2].map((c) => levels.subarray(c * area, (c + 1) * area));
    // Half a unit more, and whole numbers below: libjpeg rounds by adding and dropping bits.
    const ycc = mixed(planes, TO_YCC, [0.5, 128.5 - 2 ** -16, 128.5 - 2 ** -16]);
    const [luma, ...colours] = ycc.map((plane) => plane.map(Math.floor));
    const y = coded(luma, height, width, luminance);
    const [cb, cr] = colours.map((plane) => {
      const size = small(height, width);
      const less = halved(plane, height, width).map((v, i) => Math.floor(v + (i % 2 ? 0.5 : 0.25)));  // size[1] is even
      const more = enlarged(coded(less, ...size, chrominance), height, width);
      return more.map((v, i) => Math.floor(v + (i % width % 2 ? 7 : 8) / 16) - 128);
    });
    const result = new Float32Array(3 * area);
    mixed([y, cb, cr], TO_RGB, [0.5, 0.5, 0.5]).forEach((plane, c) => {
      result.set(plane.map((v) => clamp(Math.floor(v), 0, 255) / 255), c * area);
    });
    return result;
  }

  function pullBack(g, [channels, height, width]) {
    if (channels === 1) return Float64Array.from(g);
    const area = height * width;
    const planes = [0, 1, 2].map((c) => Float64Array.from(g.subarray(c * area, (c + 1) * area)));
    const [y, ...colours] = mixed(planes, transposed(TO_RGB), [0, 0, 0]);
    const less = colours.map((plane) => halvedBack(enlargedBack(plane, height, width), height, width));
    const result = new Float64Array(3 * area);
    mixed([y, ...less], transposed(TO_YCC), [0, 0, 0]).forEach((plane, c) => result.set(plane, c * area));
    return result;
  }

  /* matrix / 2^16 times three planes, plus a shift */
  function mixed([a, b, c], matrix, shift) {
    return matrix.map((row, k) => a.map((_, i) => (row[0] * a[i] + row[1] * b[i] + row[2] * c[i]) / 65536 + shift[k]));
  }

  /* The bytes that come back for a plane of bytes.  Blocks at the edge are filled with the last row and column. */
  function coded(plane, height, width, table) {
    const result = new Float64Array(height * width);
    for (let top = 0; top < height; top += 8)
      for (let left = 0; left < width; left += 8) {
        let block = new Float64Array(64);
        for (let i = 0; i < 64; i++) {
          const row = Math.min(top + (i >> 3), height - 1), column = Math.min(left + (i & 7), width - 1);
          block[i] = plane[row * width + column] - 128;
        }
        block = alongColumns(alongRows(block, DCT, 4), DCT, 1 / 4);
        // What the file would hold.  Coefficients are 8 times too large; ties go away from 0, hence a little more.
        for (let i = 0; i < 64; i++) block[i] = round(block[i] * ((1 + 2 ** -20) / (8 * table[i]))) * table[i];
        block = alongRows(alongColumns(block, INVERSE, 4), INVERSE, 1 / 32);
        for (let i = 0; i < 64; i++) {
          const row = top + (i >> 3), column = left + (i & 7);
          if (row < height && column < width) result[row * width + column] = clamp(block[i] + 128, 0, 255);
        }
      }
    return result;
  }

  /* Each row r of a block becomes matrix r, scaled and rounded. */
  function alongRows(block, matrix, scale) {
    return block.map((_, i) => {
      let sum = 0;
      for (let k = 0; k < 8; k++) sum += matrix[i & 7][k] * block[(i & 56) + k];
      return Math.floor(sum / 8192 * scale + 0.5);
    });
  }

  function alongColumns(block, matrix, scale) {
    return block.map((_, i) => {
      let sum = 0;
      for (let k = 0; k < 8; k++) sum += matrix[i >> 3][k] * block[8 * k + (i & 7)];
      return Math.floor(sum / 8192 * scale + 0.5);
    });
  }

  /* --- half the resolution, and back: linear, with the transposed maps -------------------------------------------- */

  /* A halved plane: (H / 2, W / 2) of an image that is filled up to 2 rows and 16 columns. */
  function small(height, width) {
    return [Math.ceil(height / 2), Math.ceil(width / 16) * 8];
  }

  /* visit(halved pixel, pixel) for the four pixels whose mean it is; beyond the edge the last one repeats */
  function eachHalved(height, width, visit) {
    const [rows, columns] = small(height, width);
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++)
        for (const [u, v] of [[0, 0], [1, 0], [0, 1], [1, 1]])
          visit(i * columns + j, Math.min(2 * i + u, height - 1) * width + Math.min(2 * j + v, width - 1));
  }

  function halved(plane, height, width) {
    const [rows, columns] = small(height, width), less = new Float64Array(rows * columns);
    eachHalved(height, width, (to, from) => { less[to] += plane[from] / 4; });
    return less;
  }

  function halvedBack(g, height, width) {
    const d = new Float64Array(height * width);
    eachHalved(height, width, (from, to) => { d[to] += g[from] / 4; });
    return d;
  }

  /* visit(pixel, halved pixel, weight).  In each direction: three quarters of the halved pixel that it lies in, and one
     of the neighbour that it lies nearer to.  Only halved pixels inside the image count; one or two columns repeat. */
  function eachEnlarged(height, width, visit) {
    const [rows, columns] = small(height, width), inside = Math.ceil(width / 2);
    const near = (p, count) => (inside <= 2 ? [[p >> 1, 1]]
      : [[p >> 1, 0.75], [clamp((p >> 1) + (p & 1 ? 1 : -1), 0, count - 1), 0.25]]);
    for (let i = 0; i < height; i++)
      for (let j = 0; j < width; j++)
        for (const [row, a] of near(i, rows))
          for (const [column, b] of near(j, inside)) visit(i * width + j, row * columns + column, a * b);
  }

  function enlarged(plane, height, width) {
    const more = new Float64Array(height * width);
    eachEnlarged(height, width, (to, from, weight) => { more[to] += weight * plane[from]; });
    return more;
  }

  function enlargedBack(g, height, width) {
    const [rows, columns] = small(height, width), d = new Float64Array(rows * columns);
    eachEnlarged(height, width, (from, to, weight) => { d[to] += weight * g[from]; });
    return d;
  }

  return { roundTrip, pullBack };
};
