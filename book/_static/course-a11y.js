/* What the theme and docutils leave unsaid to those who listen to a page or use its keyboard; and paper is white. */
(() => {
  /* What scrolls sideways must be reachable by keyboard. */
  const SCROLLING = ["pre", ".cell_output > .output", ".pst-scrollable-table-container", "div.math", "figure"];
  const scrolling = new ResizeObserver((sized) => sized.forEach(({ target: box }) => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }));

  const page = document.documentElement.dataset;
  let shown = page.theme;
  matchMedia("print").addEventListener("change", ({ matches }) => {
    if (matches) shown = page.theme;
    page.theme = matches ? "light" : shown;
  });

  addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll(SCROLLING.map((kind) => ".bd-article " + kind).join(", ")).forEach((box) => scrolling.observe(box));
    /* Where no list of sections stands beside the text, none needs to be marked while one scrolls. */
    if (!matchMedia("(min-width: 1200px)").matches) document.body.removeAttribute("data-bs-spy");
    document.querySelectorAll(".bd-sidebar-primary details > summary").forEach((summary) => {
      const link = summary.closest("li").querySelector("a");
      if (!summary.hasAttribute("aria-label"))
        summary.setAttribute("aria-label", "Pages under " + (link ? link.textContent.trim() : "this one"));
    });
    /* A role that the standard has since withdrawn, and lists that hold more than items. */
    document.querySelectorAll('[role="doc-biblioentry"], .citation-list[role="list"]').forEach((entry) => entry.removeAttribute("role"));
  });
})();
