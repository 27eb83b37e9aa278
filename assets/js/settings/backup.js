// The backup tab, which downloads all durable state as one file.

import { api } from "../api.js";
import { h } from "../dom.js";
import { bytes, percent } from "../format.js";
import { button } from "../ui/button.js";
import { snippet } from "../ui/copy.js";
import { notice } from "../ui/notice.js";
import { section } from "../ui/page.js";
import { toast } from "../ui/toast.js";

export function backupPart() {
  const progress = h("p", { class: "hint progress", role: "status" });
  return section({
    heading: "Backup",
    lead: ["One tar file with the log, the usage totals and the two keys that protect secrets. ",
      "It is a consistent snapshot, made while the gateway keeps running."],
  },
  notice("warn", h("p", null, h("strong", null, "The file is as secret as the data directory."),
    " Anyone who has it can read every event and decrypt the provider credentials. Only admin.key is left out.")),
  h("div", { class: "row" },
    button({
      label: "Download backup", icon: "download", kind: "primary",
      press: () => download((text) => { progress.textContent = text; }).catch((error) => {
        progress.textContent = "";
        throw error;
      }),
    }), progress),
  h("div", { class: "prose" },
    h("p", null, "Restore it into an empty directory while the gateway is stopped. It is verified first."),
    snippet({ label: "Restore", text: "tollgate restore backup.tar --data-dir data" }),
    h("p", null, "For a backup every night, add this line to the crontab of the gateway's own machine:"),
    // In a crontab, a percent sign without a backslash ends the command.
    snippet({ label: "Backup from cron", text: "0 3 * * * tollgate backup tollgate-$(date +\\%F).tar --data-dir data" })));
}

/** @param {(text: string) => void} progress */
async function download(progress) {
  progress("Preparing…");
  const answer = await api.backup();
  const name = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition") ?? "")?.[1] ?? "tollgate.tar";
  const total = Number(answer.headers.get("content-length") ?? 0);
  let received = 0;
  const counted = answer.body?.pipeThrough(new TransformStream({
    transform(/** @type {Uint8Array} */ piece, out) {
      received += piece.byteLength;
      progress(total ? `${bytes(received)} of ${bytes(total)} (${percent(received, total)})` : bytes(received));
      out.enqueue(piece);
    },
  }));
  const file = await new Response(counted, { headers: { "content-type": "application/x-tar" } }).blob().catch(() => {
    throw new Error("The download was interrupted. Nothing was saved. Try again.");
  });
  if (total && file.size !== total) throw new Error("The download was interrupted. Nothing was saved. Try again.");
  save(file, name);
  progress(`${name}, ${bytes(file.size)}`);
  toast("Backup saved.");
}

/** @param {Blob} blob @param {string} name */
function save(blob, name) {
  const address = URL.createObjectURL(blob);
  const anchor = document.createElement("a");
  anchor.href = address;
  anchor.download = name;
  anchor.click();
  // The browser has started the download by then.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
