document.addEventListener("DOMContentLoaded", () =>
  document.querySelectorAll(".arithmatex").forEach(e => window.renderMathInElement?.(e, {throwOnError: false})))
