// What a screen reader and the keyboard need to know about HTMX: what is being fetched, and where the focus was.
// HTMX itself keeps the focus when the element has an id; we name the busy region.
document.addEventListener("htmx:beforeRequest", (event) => event.detail.target.setAttribute("aria-busy", "true"));
document.addEventListener("htmx:afterRequest", (event) => event.detail.target.removeAttribute("aria-busy"));

// A session that ended meanwhile answers with the sign-in page: go there instead of putting it into a table.
document.addEventListener("htmx:beforeSwap", (event) => {
  const url = event.detail.xhr.responseURL;
  if (url && new URL(url).pathname.startsWith("/account/")) {
    event.detail.shouldSwap = false;
    location.reload();
  }
});
