/* The lab's backend: networks and attacks that run in the page, in a worker of their own.

   A page loads this one file (a classic script: file:// works); everything else comes when it is first needed.

     const backend = lensLab.backend({ base: "_static/lab/" });   // where these files lie, relative to the page
     const response = await backend.run(request, { onstep });

   request = {
     net       "lenet" | "mnist_resnet" | "fully_connected" | "cifar_net"
     data      what it was trained on: "mnist" | "digits", for cifar_net "cifar10" | "shapes"
     x         Float32Array (C*H*W) in [0, 1]; quantise a drawing to 8 bits first, or a shared link shows other numbers
     label     the right class; null: what the network says to x (the attack leads away from it)
     attack    "none" | "fgsm" | "fgm" | "pgd" | "ddn"
     norm      "linf" | "l2", for pgd only: fgsm is linf; fgm and ddn are l2
     eps       in pixel units, at least 0; ddn does not need it
     steps     of pgd (null: 40) and ddn (null: 100)
     stepSize  of pgd; null: 2.5 eps / steps
     target    the class to reach; null: any but `label`
     jpeg      quality 1 to 100 of a JPEG defence in front of the network (colours 4:2:0); null: no defence
     adaptive  true: the attack knows the defence and goes through it (straight-through gradient);
               false: it attacks the bare network, and the defence only judges
     seed      of pgd's random start in the ball (a whole number); null: it starts at x
   }                                                          What is left out counts as null (adaptive: false).
   response = {
     clean        { logits, probabilities, prediction } of x, through the defence if there is one
     adversarial  Float32Array: the strongest point met (pgd), the shortest success or x itself (ddn)
     seen         Float32Array: what the network sees of it, after JPEG
     attacked     { logits, probabilities, prediction } of `seen`
     walk         [{ x, probabilities, loss }], walk[0] is the start: x alone for "none", two points for fgsm and fgm,
                  steps + 1 for pgd and ddn.  As the attack sees it: through the defence only if it is adaptive.
                  loss: what the attack makes large, the log-odds against `label`, log((1 - p) / p), or for `target`
     best         which entry of `walk` is `adversarial`
     norms        { l2, linf } of adversarial - x
     label        the class that the attack leads away from (null was filled in)
     success      is attacked.prediction another class than `label`, or the target?
     work         { forward, backward }: passes through the network
     milliseconds in the worker
   }
   onstep({ step, steps, point }) is told every entry of the walk as it is made.

   await backend.smallest(request) -> { eps, norm, adversarial, success, ... }: the smallest budget that fools.  fgsm,
   fgm and pgd: by bisection (to 1 %; at this eps the attack succeeds, 1 % below it does not; a single step may
   fail again further up).  ddn: the length that it found.  eps = 0 where x fools already; eps = null, adversarial =
   null, success = false where nothing up to the far corner of the box does.  request.eps does not matter.  Also label and work.

   await backend.warm(net, data) -> { net, data, shape: [C, H, W], classes: [names] }: loads the weights and runs once,
   because the first passes are slow.  Cancels nothing; call it while the reader still looks.
   await backend.images(data) -> [{ x, label }]: a few test images, at data's size ("mnist" has those of "digits").
   await backend.codec(x, shape, quality) -> Float32Array: JPEG alone, without a network.
   await backend.how() -> { worker: true | false, wasm: true | false }: false is the slower way, same numbers.

   One thing at a time, and the latest wins: a request that still waits when the next one comes is given up at once;
   one that runs may finish if that takes no longer than 150 ms (so a slider that is dragged shows pictures on its
   way), then it is given up too.  backend.cancel() gives up everything.  Given up = rejected with an error whose
   name is "AbortError": ignore these.  Other errors have a message for the reader's console.  For nets side by side
   make one backend each.  backend.close() ends the worker.

   Where a page's policy forbids Blob workers the same code runs in the page, in slices of at most some milliseconds;
   where it forbids WebAssembly, in plain loops. */
"use strict";
