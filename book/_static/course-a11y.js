/* What the theme and docutils leave unsaid to those who listen to a page or use its keyboard; and paper is white. */
(() => {
  /* What scrolls sideways must be reachable by keyboard. */
  const SCROLLING = ["pre", ".pst-scrollable-table-container", "div.math", "figure"];
  function reachable() {
    document.querySelectorAll(SCROLLING.map((kind) => ".bd-article " + kind).join(", ")).forEach((box) => {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    });
  }

  const page = document.documentElement.dataset;
  let shown = page.theme;
  matchMedia("print").addEventListener("change", ({ matches }) => {
    if (matches) shown = page.theme;
    page.theme = matches ? "light" : shown;
  });

  addEventListener("DOMContentLoaded", () => {
    const article = document.querySelector(".bd-article");
    if (article) new ResizeObserver(reachable).observe(article);  // also when a part opens
    document.querySelectorAll(".bd-sidebar-primary details > summary").forEach((summary) => {
      const link = summary.closest("li").querySelector("a");
      if (!summary.hasAttribute("aria-label"))
        summary.setAttribute("aria-label", "Pages under " + (link ? link.textContent.trim() : "this one"));
    });
    /* A role that the standard has since withdrawn, and lists that hold more than items. */
    document.querySelectorAll('[role="doc-biblioentry"], .citation-list[role="list"]').forEach((entry) => entry.removeAttribute("role"));
  });
})();
