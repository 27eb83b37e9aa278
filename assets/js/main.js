// The entry point of the UI. It shows the sign-in form, or the shell with its pages to a signed-in operator.
//
// * Every page is a function of the address. It returns an element, and is dropped when the address changes.
// * A page is drawn once its data is loaded, so that nothing jumps. Until then the previous page stays visible.
// * When the session has ended, the sign-in form is shown. The address is kept.

import { ApiError, loaded, onSignedOut } from "./api.js";
import { fill, h } from "./dom.js";
import { onSessionEnded } from "./live.js";
import { match, parse, setQuery } from "./router.js";
import { routes } from "./routes.js";
import { ROLES, forgetSession, loadSession, may, session } from "./session.js";
import { shell } from "./shell.js";
import { signIn } from "./sign_in.js";
import { button } from "./ui/button.js";
import { empty, page as makePage } from "./ui/page.js";
import { toast } from "./ui/toast.js";

/** @import { Page } from "./router.js" */

const app = /** @type {HTMLElement} */ (document.getElementById("app"));

/** @type {AbortController} */
let leaving = new AbortController();
/** @type {ReturnType<typeof shell> | null} */
let frame = null;

function showSignIn(/** @type {string} */ why = "") {
  // Several requests may fail because the session has ended. Keep the first form: a key may be half typed in it.
  if (!frame && app.querySelector("form")) return;
  leaving.abort();
  frame?.close();
  frame = null;
  forgetSession();
  // Keep one-time secrets on screen after the session ends.
  for (const open of document.querySelectorAll(/** @type {"dialog"} */ ("dialog:not([data-stays])"))) open.close();
  document.title = "Sign in · Tollgate";
  fill(app, signIn(why, showShell));
  app.querySelector("input")?.focus();
}

function showShell() {
  frame = shell(() => {
    // The next operator begins at the start page of their role.
    history.replaceState(null, "", "#/");
    showSignIn();
  });
  fill(app, frame.element);
  void showPage(false);
}

/** @param {boolean} moveFocus false for the first page */
async function showPage(moveFocus) {
  if (!frame) return;
  const { path, query } = parse(location.hash);
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const found = match(routes, path === "/" && !may("metrics") ? (may("keys") ? "/groups" : "/settings") : path);
  const main = frame.main;
  main.setAttribute("aria-busy", "true");
  frame.select(found?.route.section ?? "");
  const page = await make(found, query, signal);
  if (signal.aborted || !frame) return;
  document.title = `${page.heading} · Tollgate`;
  // The focus stays on the tabs when one of them was pressed, and goes to a field that the page asks for.
  const fromTabs = document.activeElement?.closest(".tabs");
  fill(main, page.element);
  main.dataset.route = path;
  main.setAttribute("aria-busy", "false");
  if (moveFocus) {
    scrollTo(0, 0);
    const places = [fromTabs ? ".tabs [aria-current]" : "[autofocus]", "h1"];
    const place = places.map((of) => main.querySelector(of)).find(Boolean);
    if (place instanceof HTMLElement) place.focus();
  }
}

const roleText = () => {
  const now = session();
  return now && `You are signed in with the key ${now.name || now.prefix}, which may ${ROLES[now.type]}. Sign in with one that has access.`;
};

/**
 * @param {ReturnType<typeof match>} found
 * @param {URLSearchParams} query
 * @param {AbortSignal} signal
 * @returns {Promise<Page>}
 */
async function make(found, query, signal) {
  if (!found) {
    return makePage({ heading: "Page not found" }, empty({
      heading: "There is no page at this address",
      text: ["The link may be incomplete. ", h("a", { href: "#/" }, "Go to the overview"), "."],
    }));
  }
  if (!may(found.route.scope)) {
    return makePage({ heading: "No access" }, empty({
      heading: "Your operator key does not have access to this page",
      text: roleText(),
    }));
  }
  try {
    const { default: makeFound } = await loaded(found.route.load);
    return await makeFound({
      params: found.params, query, signal,
      // If the page was left while it loaded, the address belongs to another page.
      setQuery: (changes, how) => signal.aborted || setQuery(changes, how),
    });
  } catch (error) {
    if (!(error instanceof ApiError)) console.error(error);
    const [heading, problem, text] = !(error instanceof ApiError)
      ? ["The page could not be shown", "This is a bug in Tollgate", "See the browser's console for details."]
      : error.status === 404 ? ["Not found", error.sentence, "It may have been deleted."]
        : error.status === 403 ? ["No access", error.sentence, roleText()]
        : ["The request failed", error.sentence, "Nothing was changed. Try again in a moment."];
    return makePage({ heading }, empty({
      heading: problem,
      text,
      actions: button({ label: "Try again", icon: "refresh", press: () => showPage(true) }),
    }));
  }
}

onSignedOut(() => showSignIn("Your session has ended. Sign in again to continue."));
onSessionEnded(() => showSignIn("Your session has ended. Sign in again to continue."));
// Show API errors of promises that nothing awaits.
addEventListener("unhandledrejection", (event) => {
  if (!(event.reason instanceof ApiError)) return;
  event.preventDefault();
  if (frame) toast(event.reason.message, { tone: "bad" });
});
addEventListener("hashchange", () => void showPage(true));
// Refresh the session when the tab becomes visible: another tab may have signed out, or in with another key.
document.addEventListener("visibilitychange", async () => {
  const before = session();
  if (document.hidden || !before) return;
  const now = await loadSession().catch(() => before);
  if (!now) showSignIn("You signed out in another tab.");
  else if (now.prefix !== before.prefix) location.reload();
});

loadSession().then(
  (found) => (found ? showShell() : showSignIn()),
  (error) => showSignIn(error.message),
);
