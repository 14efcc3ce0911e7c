// What `npm run generate` does: it checks the documents in src against the schema, and writes their types to src/gql.
import type { CodegenConfig } from "@graphql-codegen/cli";

const config: CodegenConfig = {
  // The file of this project; `duologue schema` prints the same. Take a copy along with this folder.
  schema: "../../schema.graphql",
  documents: "src/*.ts",
  generates: {
    "src/gql/": {
      preset: "client",
      // Also writes persisted-documents.json, for a server with `--trusted-documents`.
      presetConfig: { fragmentMasking: false, persistedDocuments: true },
      config: { scalars: { DateTime: "string" }, useTypeImports: true, importExtension: ".js", enumsAsTypes: true },
    },
  },
};

export default config;
