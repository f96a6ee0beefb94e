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
                  steps + 1 for pgd and ddn (x alone where ddn finds that it succeeds already).
                  As the attack sees it: through the defence only if it is adaptive.
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
   null, success = false where nothing up to the far corner of the box does.  request.eps does not matter.
   Also label and work.

   await backend.warm(net, data) -> { net, data, shape: [C, H, W], classes: [names] }: loads the weights and runs once,
   because the first passes are slow.  Cancels nothing; call it while the reader still looks.
   await backend.how() -> { worker: true | false, wasm: true | false }: false is the slower way, same numbers.

   One thing at a time, and the latest wins: a request that still waits when the next one comes is given up at once;
   one that runs may finish if that takes no longer than 150 ms (so a slider that is dragged shows pictures on its
   way), then it is given up too.  backend.cancel() gives up everything.  Given up = rejected with an error whose
   name is "AbortError": ignore these.  Other errors have a message for the reader's console.  For nets side by side
   make one backend each.

   Where a page's policy forbids Blob workers the same code runs in the page, in slices of at most some milliseconds;
   where it forbids WebAssembly, in plain loops. */
"use strict";

(globalThis.lensLab ??= {}).backend = (() => {
  const HERE = document.currentScript?.src || document.baseURI;
  const PARTS = ["convolve.js", "engine.js", "jpeg.js", "attacks.js"];
  const PATIENCE = 150;  // ms that a request may still run when the next one waits
  const loading = new Map();  // address -> promise: several backends share what is loaded

  /* A classic script, because modules and fetch fail on file://. */
  function load(address) {
    if (!loading.has(address)) {
      loading.set(address, new Promise((resolve, reject) => {
        const script = Object.assign(document.createElement("script"), { src: address, onload: resolve });
        script.onerror = () => {
          loading.delete(address);
          reject(new Error(`the lab cannot load ${address}`));
        };
        document.head.append(script);
      }));
    }
    return loading.get(address);
  }

  const givenUp = (why) => Object.assign(new Error(why), { name: "AbortError" });

  /* The other side of the wire, in a worker or in the page: post(message) answers.  Self-contained: see `source`. */
  function makeServer(lab, post) {
    const SLICE = 10;  // ms of work between two looks at what came in
    const engine = lab.makeEngine(lab.convolve), attacks = lab.makeAttacks(lab.makeCodec());
    const nets = new Map(), cancelled = new Set(), running = new Set();
    const turn = new MessageChannel(), waiting = [];
    turn.port1.onmessage = () => waiting.shift()();
    const breathe = () => new Promise((resume) => { waiting.push(resume); turn.port2.postMessage(null); });

    async function drive(id, steps, tell) {
      for (let since = performance.now(); ;) {
        if (cancelled.has(id)) throw Object.assign(new Error("cancelled"), { name: "AbortError" });
        const next = steps.next();
        if (next.done) return next.value;
        if (tell) post({ id, step: next.value });
        if (performance.now() - since > SLICE) {
          await breathe();
          since = performance.now();
        }
      }
    }

    const jobs = {
      how: () => ({ wasm: engine.wasm }),
      add: (id, { key, net }) => { nets.set(key, nets.get(key) ?? engine.compile(net)); },
      warm(id, { key }) {  // three times, so that the browser compiles what it met
        const net = nets.get(key), [channels, height, width] = net.shape;
        for (let i = 0; i < 3; i++) net.backward(net.forward(new Float32Array(channels * height * width)));
        net.last = null;
        return { shape: net.shape, classes: net.classes };
      },
      async run(id, { key, request, tell }) {
        const start = performance.now(), response = await drive(id, attacks.run(nets.get(key), request), tell);
        return { ...response, milliseconds: performance.now() - start };
      },
      smallest: (id, { key, request }) => drive(id, attacks.smallest(nets.get(key), request), false),
    };

    return async function receive({ id, job, ...given }) {
      if (job === "cancel") {
        if (running.has(given.which)) cancelled.add(given.which);
        return;
      }
      running.add(id);
      try {
        post({ id, result: await jobs[job](id, given) });
      } catch (error) {
        post({ id, error: { name: error.name, message: error.message } });
      }
      running.delete(id);
      cancelled.delete(id);
    };
  }

  const source = () => {
    const { makeEngine, makeCodec, makeAttacks, convolve } = lensLab;
    return `"use strict";
      const lab = { convolve: "${convolve}", makeEngine: ${makeEngine},
        makeCodec: ${makeCodec}, makeAttacks: ${makeAttacks} };
      const receive = (${makeServer})(lab, postMessage);
      onmessage = (event) => receive(event.data);
      postMessage({ ready: true });`;
  };

  /* { send, worker }: the server in a worker, or where a policy forbids that in the page. */
  function connect(hear) {
    const inPage = () => {
      const receive = makeServer(lensLab, (message) => setTimeout(hear, 0, structuredClone(message)));
      return { worker: false, send: (message) => receive(structuredClone(message)) };
    };
    return new Promise((resolve) => {
      const address = URL.createObjectURL(new Blob([source()], { type: "text/javascript" }));
      let worker;
      try {
        worker = new Worker(address);
      } catch (refused) {
        return resolve(inPage());
      }
      worker.onerror = (event) => {  // a policy is told this way too, and only so
        event.preventDefault?.();
        console.info("advlens lab: no worker here; the page computes itself");
        worker.terminate();
        resolve(inPage());
      };
      worker.onmessage = () => {  // { ready: true }
        URL.revokeObjectURL(address);
        worker.onmessage = (event) => hear(event.data);
        worker.onerror = (event) => hear({ broken: event.message });
        resolve({ worker: true, send: (message) => worker.postMessage(message) });
      };
    });
  }

  return function backend({ base = new URL(".", HERE).href } = {}) {
    const at = (file) => new URL(file, new URL(base, document.baseURI)).href;
    const open = new Map(), added = new Map();  // id -> { resolve, reject, onstep }; weights' key -> promise
    let count = 0, running = null, waiting = null;

    const server = (async () => {
      await Promise.all(PARTS.map((file) => load(at(file))));
      return connect(hear);
    })();
    server.catch(() => {});  // whoever asks for something hears of it

    function hear({ id, step, result, error, broken }) {
      if (broken) {
        for (const call of open.values()) call.reject(new Error(`the lab's worker broke: ${broken}`));
        return open.clear();
      }
      const call = open.get(id);
      if (step) return call.onstep(step);
      open.delete(id);
      if (error) call.reject(Object.assign(new Error(error.message), { name: error.name }));
      else call.resolve(result);
    }

    async function ask(job, given, { id = ++count, onstep } = {}) {
      const { send } = await server;
      return new Promise((resolve, reject) => {
        open.set(id, { resolve, reject, onstep });
        send({ id, job, ...given });
      });
    }

    /* The key of a network whose weights the server has. */
    function weights(net, data) {
      const key = `${net}-${data}`;
      if (!added.has(key)) {
        const arrive = async () => {
          await load(at(`weights-${key}.js`));
          await ask("add", { key, net: lensLab.weights[key] });
          return key;
        };
        added.set(key, arrive().catch((error) => {
          added.delete(key);
          throw error;
        }));
      }
      return added.get(key);
    }

    /* The latest wins: see the head of this file. */
    function queue(job, request, onstep) {
      return new Promise((resolve, reject) => {
        waiting?.reject(givenUp("a newer request came"));
        waiting = { job, request, onstep, resolve, reject };
        if (!running) next();
        else setTimeout(stop, Math.max(0, running.since + PATIENCE - performance.now()), running);
      });
    }

    async function next() {
      const call = running = waiting;
      waiting = null;
      if (!call) return;
      Object.assign(call, { id: ++count, since: performance.now(), stopped: false });
      try {
        const key = await weights(call.request.net, call.request.data);
        if (call.stopped) throw givenUp("cancelled");
        const given = { key, request: call.request, tell: Boolean(call.onstep) };
        call.resolve(await ask(call.job, given, call));
      } catch (error) {
        call.reject(error);
      }
      next();
    }

    async function stop(call) {
      if (call !== running) return;
      call.stopped = true;
      (await server).send({ job: "cancel", which: call.id });
    }

    function cancel() {
      waiting?.reject(givenUp("cancelled"));
      waiting = null;
      if (running) stop(running).catch(() => {});
    }

    return {
      run: (request, { onstep } = {}) => queue("run", request, onstep),
      smallest: (request) => queue("smallest", request),
      cancel,
      async warm(net, data) {
        return { net, data, ...await ask("warm", { key: await weights(net, data) }) };
      },
      async how() {
        return { worker: (await server).worker, ...await ask("how", {}) };
      },
    };
  };
})();
