/* What the widget manager, the theme and docutils leave unsaid to those who listen to a page. */
(() => {
  const name = (element, text) => {
    if (text && !element.hasAttribute("aria-label")) element.setAttribute("aria-label", text);
  };

  function nameControls() {
    document.querySelectorAll(".widget-slider").forEach((widget) => {
      const label = widget.querySelector(".widget-label");
      const text = (label && label.textContent.trim()) || "value";
      widget.querySelectorAll(".noUi-handle, .widget-readout").forEach((part) => name(part, text));
    });
    document.querySelectorAll(".widget-play button").forEach((button) => name(button, button.title || "Play"));
    /* What scrolls sideways must be reachable by keyboard. */
    document.querySelectorAll(".bd-article pre, .bd-article .pst-scrollable-table-container, .bd-article div.math, .bd-article mjx-container[display]").forEach((box) => {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    });
  }

  function nameParts() {
    document.querySelectorAll(".bd-sidebar-primary details > summary").forEach((summary) => {
      const link = summary.closest("li").querySelector("a");
      name(summary, "Pages under " + (link ? link.textContent.trim() : "this one"));
    });
    /* A role that the standard has since withdrawn, and lists that hold more than items. */
    document.querySelectorAll('[role="doc-biblioentry"], .citation-list[role="list"]').forEach((entry) => entry.removeAttribute("role"));
  }

  let queued = false;
  const later = () => {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => { queued = false; nameControls(); });
  };
  document.addEventListener("DOMContentLoaded", nameParts);
  addEventListener("load", () => {
    const main = document.querySelector("main") || document.body;
    new MutationObserver(later).observe(main, { childList: true, subtree: true });
    addEventListener("resize", later);
    later();
  });
})();
