// Toasts: news leaves by itself unless it is read or touched; an error stays until it is closed.
const STAY = 6000;

function start(toast) {
  if (toast.getAttribute("role") === "alert") return;
  let timer = setTimeout(() => toast.remove(), STAY);
  const hold = () => clearTimeout(timer);
  const release = () => {
    clearTimeout(timer);
    timer = setTimeout(() => toast.remove(), STAY);
  };
  toast.addEventListener("mouseenter", hold);
  toast.addEventListener("focusin", hold);
  toast.addEventListener("mouseleave", release);
  toast.addEventListener("focusout", release);
}

document.addEventListener("click", (event) => {
  event.target.closest('[data-close="toast"]')?.closest("[data-toast]").remove();
});
document.querySelectorAll("[data-toast]").forEach(start);
