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
    /* On a phone a wide picture keeps letters that can be read, and scrolls inside its card. */
    document.querySelectorAll(".bd-article figure img, .bd-article img.advlens-frame").forEach((picture) => {
      picture.style.minWidth = innerWidth <= 720 ? Math.round(0.65 * picture.naturalWidth) + "px" : "";
    });
    /* What scrolls sideways must be reachable by keyboard. */
    const scrolling = ["pre", ".pst-scrollable-table-container", "div.math", "mjx-container[display]", "figure", ".advlens-explore .widget-box"];
    document.querySelectorAll(scrolling.map((kind) => ".bd-article " + kind).join(", ")).forEach((box) => {
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
