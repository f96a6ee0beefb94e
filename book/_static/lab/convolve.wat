;; One convolution as a product of matrices that are never made.
;;
;; Output pixels are counted along the rows of the padded image (the frame), so the pixels that one weight meets
;; for eight neighbouring outputs are neighbours too: at the output's place plus an offset that belongs to the weight.
;;
;;   out[i][j] = sum over r of weights[i / 4][r][i % 4] * frame[j + offsets[r]]      for i < m, j < n, r < k
;;
;; frame, weights, out: 32-bit floats.  offsets: in bytes.  m is a multiple of 4, n of 8; m, n, k > 0.
;; Four outputs of eight pixels stay in registers; the band of four weights stays in the cache.
(module
  (memory (export "memory") 1)
  (func (export "convolve")
    (param $frame i32) (param $offsets i32) (param $weights i32) (param $out i32)
    (param $m i32) (param $n i32) (param $k i32)
    (local $row i32) (local $end i32) (local $j i32) (local $r i32) (local $w i32) (local $at i32)
    (local $left v128) (local $right v128) (local $weight v128)
    (local $a0 v128) (local $a1 v128) (local $b0 v128) (local $b1 v128)
    (local $c0 v128) (local $c1 v128) (local $d0 v128) (local $d1 v128)
    (local.set $row (i32.shl (local.get $n) (i32.const 2)))
    (local.set $end (i32.add (local.get $offsets) (i32.shl (local.get $k) (i32.const 2))))
    (loop $bands
      (local.set $j (i32.const 0))
      (loop $pixels
        (local.set $r (local.get $offsets))
        (local.set $w (local.get $weights))
        (local.set $a0 (v128.const i32x4 0 0 0 0)) (local.set $a1 (v128.const i32x4 0 0 0 0))
        (local.set $b0 (v128.const i32x4 0 0 0 0)) (local.set $b1 (v128.const i32x4 0 0 0 0))
        (local.set $c0 (v128.const i32x4 0 0 0 0)) (local.set $c1 (v128.const i32x4 0 0 0 0))
        (local.set $d0 (v128.const i32x4 0 0 0 0)) (local.set $d1 (v128.const i32x4 0 0 0 0))
        (loop $sum
          (local.set $at (i32.add (i32.add (local.get $frame) (local.get $j)) (i32.load (local.get $r))))
          (local.set $left (v128.load (local.get $at)))
          (local.set $right (v128.load offset=16 (local.get $at)))
          (local.set $weight (v128.load32_splat (local.get $w)))
          (local.set $a0 (f32x4.add (local.get $a0) (f32x4.mul (local.get $weight) (local.get $left))))
          (local.set $a1 (f32x4.add (local.get $a1) (f32x4.mul (local.get $weight) (local.get $right))))
          (local.set $weight (v128.load32_splat offset=4 (local.get $w)))
          (local.set $b0 (f32x4.add (local.get $b0) (f32x4.mul (local.get $weight) (local.get $left))))
          (local.set $b1 (f32x4.add (local.get $b1) (f32x4.mul (local.get $weight) (local.get $right))))
          (local.set $weight (v128.load32_splat offset=8 (local.get $w)))
          (local.set $c0 (f32x4.add (local.get $c0) (f32x4.mul (local.get $weight) (local.get $left))))
          (local.set $c1 (f32x4.add (local.get $c1) (f32x4.mul (local.get $weight) (local.get $right))))
          (local.set $weight (v128.load32_splat offset=12 (local.get $w)))
          (local.set $d0 (f32x4.add (local.get $d0) (f32x4.mul (local.get $weight) (local.get $left))))
          (local.set $d1 (f32x4.add (local.get $d1) (f32x4.mul (local.get $weight) (local.get $right))))
          (local.set $w (i32.add (local.get $w) (i32.const 16)))
          (br_if $sum (i32.lt_u (local.tee $r (i32.add (local.get $r) (i32.const 4))) (local.get $end))))
        (local.set $at (i32.add (local.get $out) (local.get $j)))
        (v128.store (local.get $at) (local.get $a0)) (v128.store offset=16 (local.get $at) (local.get $a1))
        (local.set $at (i32.add (local.get $at) (local.get $row)))
        (v128.store (local.get $at) (local.get $b0)) (v128.store offset=16 (local.get $at) (local.get $b1))
        (local.set $at (i32.add (local.get $at) (local.get $row)))
        (v128.store (local.get $at) (local.get $c0)) (v128.store offset=16 (local.get $at) (local.get $c1))
        (local.set $at (i32.add (local.get $at) (local.get $row)))
        (v128.store (local.get $at) (local.get $d0)) (v128.store offset=16 (local.get $at) (local.get $d1))
        (br_if $pixels (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 32))) (local.get $row))))
      (local.set $weights (local.get $w))
      (local.set $out (i32.add (local.get $out) (i32.shl (local.get $row) (i32.const 2))))
      (br_if $bands (local.tee $m (i32.sub (local.get $m) (i32.const 4)))))))
