// Modules of the UI that need no browser, for node.

import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const ASSETS = resolve(import.meta.dirname, "../../../assets");

export const load = (path) => import(pathToFileURL(resolve(ASSETS, path)).href);
