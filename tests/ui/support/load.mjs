// Loads a module of the UI that needs no browser.

import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const ASSETS = resolve(import.meta.dirname, "../../../assets");

export const load = (path) => import(pathToFileURL(resolve(ASSETS, path)).href);
