/* The widget manager still speaks to MathJax 2 when it draws a label, and throws when
   it meets MathJax 3.  Give it the one name that it calls; our labels hold no formulas. */
(() => {
  const hub = { Queue: () => {} };
  let math;
  Object.defineProperty(window, "MathJax", {
    configurable: true,
    get: () => math,
    set: (value) => {
      if (value && !value.Hub) Object.defineProperty(value, "Hub", { value: hub });
      math = value;
    },
  });
})();
