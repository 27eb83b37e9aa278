// The frame around every page: navigation, search, the signed-in operator, the connection to the gateway.

import { api } from "./api.js";
import { fill, h } from "./dom.js";
import { watch } from "./live.js";
import { navigation } from "./routes.js";
import { openSearch } from "./search.js";
import { about, may, session } from "./session.js";
import { store } from "./stored.js";
import { button } from "./ui/button.js";
import { icon } from "./ui/icon.js";

const THEMES = /** @type {const} */ ([
  ["system", "Theme: system"],
  ["light", "Theme: light"],
  ["dark", "Theme: dark"],
]);

/** @param {() => void} signedOut called when the operator has signed out */
export function shell(signedOut) {
  const closing = new AbortController();
  const { signal } = closing;
  const main = h("main", { id: "main", tabindex: "-1", "aria-busy": "true" });
  const links = navigation.map(({ title, links: all }) => {
    const allowed = all.filter((link) => may(link.scope));
    return allowed.length > 0 && h("div", { class: "nav-part" },
      title && h("p", { class: "nav-title" }, title),
      h("ul", null, allowed.map((link) => h("li", null,
        h("a", { href: `#${link.path}`, data: { section: link.section } }, icon(link.icon), h("span", null, link.label))))));
  });
  const nav = h("nav", { id: "nav", class: "sidebar", "aria-label": "Main" },
    h("a", { class: "brand", href: "#/" },
      h("img", { src: "/assets/icon.svg", alt: "", width: 26, height: 26 }), h("span", null, "Tollgate")),
    may("keys") && h("button", { type: "button", class: "search-button", onclick: () => openSearch() },
      icon("search"), h("span", null, "Search"), h("kbd", null, "/")),
    links,
    h("div", { class: "nav-foot" }, may("metrics") && connection(signal), operator(signedOut)));

  const menu = h("button", {
    type: "button", class: "button quiet icon-only menu-button", "aria-controls": "nav", "aria-expanded": "false",
    onclick: () => openMenu(nav.dataset.open === undefined),
  }, icon("menu"), h("span", { class: "visually-hidden" }, "Menu"));
  const openMenu = (/** @type {boolean} */ open) => {
    if (open) nav.dataset.open = "";
    else delete nav.dataset.open;
    menu.setAttribute("aria-expanded", String(open));
    if (open) nav.querySelector("a")?.focus();
  };
  const element = h("div", { class: "shell" },
    h("a", { class: "skip", href: "#main", onclick: (/** @type {Event} */ event) => { event.preventDefault(); main.focus(); } },
      "Skip to content"),
    h("header", { class: "topbar" }, menu, h("a", { class: "brand", href: "#/" },
      h("img", { src: "/assets/icon.svg", alt: "", width: 24, height: 24 }), h("span", null, "Tollgate")),
    may("keys") && button({ label: "Search", icon: "search", kind: "quiet", iconOnly: true, press: () => void openSearch() })),
    nav, h("div", { class: "backdrop", onclick: () => openMenu(false) }), main);

  addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLElement && event.target.matches("input, textarea, select, [contenteditable]");
    const open = document.querySelector("dialog[open]") !== null;
    if (event.key === "Escape" && nav.dataset.open !== undefined) {
      openMenu(false);
      menu.focus();
    }
    const wantsSearch = (event.key === "/" && !event.ctrlKey && !event.metaKey) || (event.key === "k" && (event.ctrlKey || event.metaKey));
    if (wantsSearch && !open && may("keys") && (!typing || event.key === "k")) {
      event.preventDefault();
      void openSearch();
    }
  }, { signal });

  return {
    element,
    main,
    close: () => closing.abort(),
    /** Marks the current section in the navigation. @param {string} section */
    select(section) {
      openMenu(false);
      for (const one of nav.querySelectorAll("a[data-section]")) {
        if (one instanceof HTMLElement && one.dataset.section === section) one.setAttribute("aria-current", "page");
        else one.removeAttribute("aria-current");
      }
    },
  };
}

/** The state of the connection to the gateway. @param {AbortSignal} signal */
function connection(signal) {
  const shown = h("p", { class: "connection", role: "status" });
  watch({
    state: (now) => {
      const words = { connecting: "Connecting", live: "Live", lost: "No connection" }[now];
      shown.dataset.state = now;
      fill(shown, words);
    },
  }, signal);
  return shown;
}

/** @param {() => void} signedOut */
function operator(signedOut) {
  const who = session();
  return h("div", { class: "operator" },
    h("p", { title: who?.type }, h("strong", null, who?.name || who?.prefix || ""), h("span", null, `Tollgate ${about().version}`)),
    themeButton(),
    button({
      label: "Sign out", icon: "sign-out", kind: "quiet", iconOnly: true,
      press: async () => {
        await api.session.end();
        signedOut();
      },
    }));
}

function themeButton() {
  const root = document.documentElement;
  const current = () => Math.max(0, THEMES.findIndex(([theme]) => theme === root.dataset.theme));
  const shown = h("button", { type: "button", class: "button quiet icon-only" });
  const draw = () => {
    const [theme, label] = THEMES[current()] ?? THEMES[0];
    fill(shown, icon({ system: "system", light: "sun", dark: "moon" }[theme]), h("span", { class: "visually-hidden" }, label));
    shown.title = label;
  };
  shown.addEventListener("click", () => {
    const [theme] = THEMES[(current() + 1) % THEMES.length] ?? THEMES[0];
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    store("theme", theme);
    draw();
  });
  draw();
  return shown;
}
