// Light or dark, before the first paint: the choice that was made here, else the system's. A classic script, since a
// module would run after the page was painted once.
try {
  const chosen = localStorage.getItem("tollgate.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // A browser that keeps nothing has no choice to remember.
}
