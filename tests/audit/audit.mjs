// Runs the audits of the package graphql-http against the URL given, and prints one line for each.
import { auditServer } from "graphql-http";

const url = process.argv[2];
const results = await auditServer({ url });
for (const { name, status, reason } of results) {
  console.log([status, name, reason ?? ""].join("\t"));
}
