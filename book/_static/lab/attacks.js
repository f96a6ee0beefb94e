/* The attacks of lib/advlens/attacks on one image, and what the lab asks them.

   lensLab.makeAttacks(codec) -> { run, smallest }.  Self-contained, because backend.js sends its text to a worker.

   run and smallest are generators: they pause after every pass through the network, so that whoever drives them can
   stop or give them up, and return the response that the head of backend.js describes.  run yields { step, steps,
   point }.  Conventions are those of the library: gradient.py (fgsm, fgm, pgd), ddn.py, losses.py ("ce" walks along
   the log-odds), geometry.py.  Numbers are computed in double precision, except inside the network. */
"use strict";
(globalThis.lensLab ??= {}).makeAttacks = function makeAttacks(codec) {
  const PRECISE = 1.01;  // how close smallest comes
  const GAMMA = 0.05, SHARPNESS = 10, CLEAR = 1e-5;  // as in ddn.py and boundary.py
  const SHORTEST = { l2: 1e-3, linf: 1e-4 };  // the least budget that smallest and ddn begin with
  const TINY = 1e-30;

  /* --- a network with memory ------------------------------------------------------------------------------------- */

  /* { shape, classes, work, logits(x), gradient(x, seed) }: what is known already is not computed again, so an array
     that was looked at must not change. */
  function subject(net) {
    const known = new WeakMap(), work = { forward: 0, backward: 0 };
    const forward = (x) => {
      net.last = x;  // backward belongs to it; several subjects may share the net
      work.forward++;
      known.set(x, Float64Array.from(net.forward(x)));
    };
    return {
      shape: net.shape,
      classes: net.classes.length,
      work,
      logits(x) {
        if (!known.has(x)) forward(x);
        return known.get(x);
      },
      gradient(x, seed) {
        if (net.last !== x) forward(x);
        work.backward++;
        return Float64Array.from(net.backward(Float32Array.from(seed)));
      },
    };
  }

  /* The same behind JPEG; its gradient goes straight through the rounding. */
  function behindJpeg(bare, quality) {
    const known = new WeakMap(), { shape } = bare;
    const seen = (x) => {
      if (!known.has(x)) known.set(x, codec.roundTrip(x, shape, quality));
      return known.get(x);
    };
    return {
      ...bare,
      seen,
      logits: (x) => bare.logits(seen(x)),
      gradient: (x, seed) => codec.pullBack(bare.gradient(seen(x), seed), shape),
    };
  }

  /* --- geometry and losses ---------------------------------------------------------------------------------------- */

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const largest = (d) => d.reduce((most, v) => Math.max(most, Math.abs(v)), 0);

  function length(d, norm) {
    const most = largest(d);
    if (norm === "linf" || most === 0) return most;
    let sum = 0;
    for (const v of d) sum += (v / most) ** 2;  // squares of small gradients underflow
    return most * Math.sqrt(sum);
  }

  const difference = (a, b) => Float64Array.from(a, (v, i) => v - b[i]);

  /* The unit perturbation along which a linear function grows fastest; where the gradient is 0 a random one. */
  function steepest(gradient, norm) {
    const most = largest(gradient);
    if (!Number.isFinite(most)) throw new Error("the gradient is not finite: the network overflows on this image");
    const g = most === 0 ? Float64Array.from(gradient, gaussian(random(0))) : gradient;
    if (norm === "linf") return g.map(Math.sign);
    const size = length(g, "l2");
    return g.map((v) => v / size);
  }

  /* Into the ball. */
  function project(d, eps, norm) {
    if (norm === "linf") return d.map((v) => clamp(v, -eps, eps));
    const size = length(d, "l2");
    return size > eps ? d.map((v) => v * (eps / size)) : d;
  }

  /* An image: x + d in the box. */
  const moved = (x, d) => Float32Array.from(x, (v, i) => clamp(v + d[i], 0, 1));

  /* The first of the largest entries, leaving out one class. */
  function top(z, without = -1) {
    let best = without === 0 ? 1 : 0;
    for (let k = best + 1; k < z.length; k++) if (k !== without && z[k] > z[best]) best = k;
    return best;
  }

  function softmax(z) {
    const most = z[top(z)], powers = Array.from(z, (v) => Math.exp(v - most)), sum = powers.reduce((a, b) => a + b);
    return powers.map((v) => v / sum);
  }

  const spread = (z) => Math.max(...z) - Math.min(...z);

  /* What an attack makes large.  goal: { label, target }; each gives [value, its gradient by the logits]. */
  function logOdds(z, goal, sharpen = 1) {
    const own = goal.target ?? goal.label, way = goal.target === null ? 1 : -1, most = z[top(z, own)];
    const powers = Array.from(z, (v, k) => (k === own ? 0 : Math.exp(sharpen * (v - most))));
    const sum = powers.reduce((a, b) => a + b);
    return [way * (sharpen * (most - z[own]) + Math.log(sum)), powers.map((v, k) => way * (k === own ? -1 : v / sum))];
  }

  function margin(z, goal) {
    const own = goal.target ?? goal.label, way = goal.target === null ? 1 : -1, other = top(z, own);
    return [way * (z[other] - z[own]), Array.from(z, (_, k) => way * ((k === other) - (k === own)))];
  }

  const succeeds = (z, goal) => (goal.target === null ? top(z) !== goal.label : top(z) === goal.target);

  /* What the margin lacks to be clear of the boundary; negative is success. */
  const violation = (z, goal) => CLEAR * spread(z) - margin(z, goal)[0];

  const marginSlope = (model, { x, z }, goal) => model.gradient(x, margin(z, goal)[1]);

  /* Distance to the linearised boundary, from the slope of the margin. */
  function linearDistance(z, slope, goal, norm) {
    const steepness = norm === "l2" ? length(slope, "l2") : slope.reduce((sum, v) => sum + Math.abs(v), 0);
    return steepness > 0 ? Math.max(violation(z, goal) / steepness, SHORTEST[norm]) : Infinity;
  }

  const farCorner = (x, norm) => length(Float64Array.from(x, (v) => Math.max(v, 1 - v)), norm);

  /* mulberry32: numbers in [0, 1) that a whole number repeats */
  function random(seed) {
    let state = seed | 0;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  const gaussian = (draw) => () => Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());

  /* Uniform in the ball. */
  function randomPoint(size, eps, norm, draw) {
    if (norm === "linf") return Float64Array.from({ length: size }, () => (2 * draw() - 1) * eps);
    const d = Float64Array.from({ length: size }, gaussian(draw)), radius = eps * draw() ** (1 / size);
    const long = length(d, "l2");
    return d.map((v) => v * radius / long);
  }

  /* --- attacks: generators that yield { x, z, value, success } for every point, and return the best one's place --- */

  function look(model, x, goal) {
    const z = model.logits(x);
    return { x, z, value: logOdds(z, goal)[0], success: succeeds(z, goal) };
  }

  const uphill = (model, { x, z }, goal) => model.gradient(x, logOdds(z, goal)[1]);

  function* none(model, { x }, goal) {
    yield look(model, x, goal);
    return 0;
  }

  /* FGSM and FGM: one step from x.  Nothing to choose from: the step it is. */
  function* oneStep(model, { x, eps, norm, stepSize }, goal) {
    const start = look(model, x, goal);
    yield start;
    yield look(model, step(start, x, eps, stepSize, uphill(model, start, goal), norm), goal);
    return 1;
  }

  /* A step of steepest ascent, back into the ball around x, back into the box. */
  function step(from, x, eps, size, gradient, norm) {
    const way = steepest(gradient, norm);
    return moved(x, project(Float64Array.from(way, (v, i) => from.x[i] - x[i] + size * v), eps, norm));
  }

  function* pgd(model, options, goal) {
    const { x, eps, norm, steps, stepSize, seed, hasty = false } = options;  // hasty: the first success will do
    if (steps === 1 && seed === null) return yield* oneStep(model, options, goal);
    const start = seed === null ? x : moved(x, randomPoint(x.length, eps, norm, random(seed)));
    let here = look(model, start, goal), best = here, place = 0;
    yield here;
    for (let t = 1; t <= steps && !(hasty && best.success); t++) {
      here = look(model, step(here, x, eps, stepSize, uphill(model, here, goal), norm), goal);
      yield here;
      if (here.success !== best.success ? here.success : here.value > best.value) [best, place] = [here, t];
    }
    return place;
  }

  /* The shortest success met; place 0, x itself, where there was none and where x succeeds already. */
  function* ddn(model, { x, steps }, goal) {
    let here = look(model, x, goal), gradient, d = new Float64Array(x.length), shortest = Infinity, place = 0;
    yield here;
    if (here.success && margin(here.z, goal)[0] >= 0) return 0;
    const longest = farCorner(x, "l2"), sharpen = SHARPNESS / Math.max(spread(here.z), TINY);
    gradient = marginSlope(model, here, goal);
    let size = Math.min(linearDistance(here.z, gradient, goal, "l2"), longest);
    for (let t = 0; t < steps; t++) {
      const fade = 0.01 + 0.99 * (1 + Math.cos(Math.PI * t / steps)) / 2, turn = steepest(gradient, "l2");
      d = d.map((v, i) => v + fade * size * turn[i]);
      const scale = size / Math.max(length(d, "l2"), TINY);
      here = look(model, moved(x, d.map((v) => v * scale)), goal);
      yield here;
      d = difference(here.x, x);
      if (t < steps - 1) gradient = model.gradient(here.x, logOdds(here.z, goal, sharpen / fade)[1]);
      const success = violation(here.z, goal) < 0, now = length(d, "l2");
      if (success && now < shortest) [shortest, place] = [now, t + 1];
      size = Math.min(size * (success ? 1 - fade * GAMMA : 1 + fade * GAMMA), longest);
    }
    return place;
  }

  const ATTACKS = {
    none: { go: none, steps: 0 },
    fgsm: { go: oneStep, steps: 1, norm: "linf" },
    fgm: { go: oneStep, steps: 1, norm: "l2" },
    pgd: { go: pgd, steps: 40 },
    ddn: { go: ddn, steps: 100, norm: "l2" },
  };

  /* --- requests --------------------------------------------------------------------------------------------------- */

  /* The request with every blank filled in.  Throws what the caller did wrong. */
  function complete(request, shape, classes) {
    const { x, attack, eps = null, label = null, target = null, jpeg = null, adaptive = false, seed = null } = request;
    const demand = (holds, message) => { if (!holds) throw new RangeError(message); };
    const oneOf = (name, value, all) => demand(all.includes(value), `${name} = ${value}; known: ${all.join(", ")}`);
    const size = shape[0] * shape[1] * shape[2];
    demand(x?.length === size, `x has ${x?.length} numbers; this network needs ${shape.join(" x ")} = ${size}`);
    demand(x.every((v) => v >= 0 && v <= 1), "x holds numbers outside [0, 1]");
    oneOf("attack", attack, Object.keys(ATTACKS));
    const known = ATTACKS[attack], norm = known.norm ?? request.norm ?? "linf";
    oneOf("norm", norm, ["linf", "l2"]);
    const isClass = (k) => k === null || (Number.isInteger(k) && k >= 0 && k < classes);
    demand(isClass(label), `label = ${label}; give a class from 0 to ${classes - 1}, or null`);
    demand(isClass(target), `target = ${target}; give a class from 0 to ${classes - 1}, or null`);
    demand(eps === null || eps >= 0, `eps = ${eps}; give a number that is at least 0`);
    const steps = attack === "pgd" || attack === "ddn" ? request.steps ?? known.steps : known.steps;
    demand(Number.isInteger(steps) && steps >= 0, `steps = ${steps}; give a whole number`);
    demand(steps >= 1 || attack === "none", `steps = ${steps}; give at least 1`);
    const stepSize = attack === "pgd" ? request.stepSize ?? 2.5 * eps / steps : eps;
    demand(attack !== "pgd" || stepSize >= 0, `stepSize = ${stepSize}; give a number that is at least 0, or null`);
    return { attack, norm, eps, steps, stepSize, label, target, jpeg, adaptive, seed, x: Float32Array.from(x) };
  }

  /* Who is attacked, who judges, and what for. */
  function scene(net, request) {
    const bare = subject(net), options = complete(request, bare.shape, bare.classes);
    const judge = options.jpeg === null ? { ...bare, seen: (x) => x } : behindJpeg(bare, options.jpeg);
    const model = options.adaptive ? judge : bare;
    const goal = { label: options.label ?? top(judge.logits(options.x)), target: options.target };
    return { options, judge, model, goal };
  }

  const answer = (z) => ({ logits: Array.from(z), probabilities: softmax(z), prediction: top(z) });
  const point = ({ x, z, value }) => ({ x, probabilities: softmax(z), loss: value });

  function* run(net, request) {
    const { options, judge, model, goal } = scene(net, request);
    if (options.eps === null && !["none", "ddn"].includes(options.attack))
      throw new RangeError(`eps = null; ${options.attack} needs a budget`);
    const attack = ATTACKS[options.attack].go(model, options, goal), walk = [];
    let next = attack.next();
    for (; !next.done; next = attack.next()) {
      walk.push(point(next.value));
      yield { step: walk.length - 1, steps: options.steps, point: walk.at(-1) };
    }
    const adversarial = walk[next.value].x, d = difference(adversarial, options.x), z = judge.logits(adversarial);
    return {
      clean: answer(judge.logits(options.x)), adversarial, seen: judge.seen(adversarial), attacked: answer(z), walk,
      best: next.value, norms: { l2: length(d, "l2"), linf: length(d, "linf") }, label: goal.label,
      success: succeeds(z, goal), work: judge.work,
    };
  }

  function* smallest(net, request) {
    const { options, judge, model, goal } = scene(net, request), { x, attack, norm } = options;
    const fools = (candidate) => succeeds(judge.logits(candidate), goal);
    const result = (eps, adversarial) => (
      { eps, norm, adversarial, success: eps !== null, label: goal.label, work: judge.work });
    if (attack === "none") throw new RangeError("attack = none; choose an attack to find its smallest budget");
    if (fools(x)) return result(0, x);
    if (attack === "ddn") {
      const found = yield* end(ddn(model, options, goal));
      return fools(found) ? result(length(difference(found, x), "l2"), found) : result(null, null);
    }
    const start = look(model, x, goal), gradient = uphill(model, start, goal);
    return yield* bisect(attack === "pgd" ? walk : leap);

    /* One direction serves all budgets. */
    function* leap(eps) {
      yield;
      return step(start, x, eps, eps, gradient, norm);
    }

    function* walk(eps) {
      const stepSize = request.stepSize ?? 2.5 * eps / options.steps, hasty = options.jpeg === null || options.adaptive;
      return yield* end(pgd(model, { ...options, eps, stepSize, hasty }, goal));
    }

    /* From the distance of the linearised boundary: double or halve until both sides are known, then close in. */
    function* bisect(attempt) {
      const far = farCorner(x, norm);
      let low = 0, high = null, adversarial = null;
      let eps = Math.min(linearDistance(start.z, marginSlope(model, start, goal), goal, norm), far);
      while (high === null || high > PRECISE * low) {
        const candidate = yield* attempt(eps);
        if (fools(candidate)) [high, adversarial] = [eps, candidate];
        else if (eps >= far) return result(null, null);
        else low = eps;
        eps = high === null ? Math.min(2 * low, far) : low === 0 ? high / 2 : Math.sqrt(low * high);
      }
      return result(high, adversarial);
    }
  }

  /* The best point of an attack that runs to its end. */
  function* end(attack) {
    const points = [];
    let next = attack.next();
    for (; !next.done; next = attack.next()) {
      points.push(next.value.x);
      yield;
    }
    return points[next.value];
  }

  return { run, smallest };
};
