// The settings, in tabs: status, operators, key registration, backup, API.

import { link } from "../router.js";
import { may } from "../session.js";
import { apiPart } from "../settings/api_part.js";
import { backupPart } from "../settings/backup.js";
import { operatorsPart } from "../settings/operators.js";
import { registrationPart } from "../settings/registration.js";
import { statusPart } from "../settings/status.js";
import { page } from "../ui/page.js";
import { tabs } from "../ui/tabs.js";

/** @import { Context } from "../router.js" */
/** @import { Scope } from "../session.js" */
/** @import { Child } from "../dom.js" */

/** @type {{tab: string, label: string, scope: Scope, part: (signal: AbortSignal) => Promise<Child> | Child}[]} */
const PARTS = [
  { tab: "status", label: "Status", scope: "metrics", part: statusPart },
  { tab: "operators", label: "Operators", scope: "manage", part: operatorsPart },
  { tab: "registration", label: "Key registration", scope: "manage", part: registrationPart },
  { tab: "backup", label: "Backup", scope: "manage", part: backupPart },
  { tab: "api", label: "API", scope: "any", part: apiPart },
];

/** @param {Context} context */
export default async function settings({ query, signal }) {
  const allowed = PARTS.filter(({ scope }) => may(scope));
  const chosen = allowed.find(({ tab }) => tab === query.get("tab")) ?? allowed[0];
  const part = await chosen?.part(signal);
  return page({ heading: "Settings" },
    allowed.length > 1 && tabs({
      label: "Settings",
      tabs: allowed.map((one) => ({ href: link("/settings", { tab: one.tab }), label: one.label, current: one === chosen })),
    }),
    part);
}
