// A certificate for 127.0.0.1 that signs itself, so that it is also the authority that clients have to trust.

import { execFileSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export class Certificate {
  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), "tollgate-certificate-"));
    this.cert = join(this.directory, "cert.pem");
    this.key = join(this.directory, "key.pem");
    const kind = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 7 -subj /CN=tollgate".split(" ");
    const names = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
    execFileSync("openssl", [...kind, ...names, "-out", this.cert, "-keyout", this.key], { stdio: "pipe" });
  }

  // The hash of the public key, by which Chromium can be told to trust the certificate.
  get spki() {
    const { publicKey } = new X509Certificate(readFileSync(this.cert));
    return createHash("sha256").update(publicKey.export({ type: "spki", format: "der" })).digest("base64");
  }

  remove() {
    rmSync(this.directory, { recursive: true });
  }
}
