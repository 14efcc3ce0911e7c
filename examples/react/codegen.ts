// What `npm run generate` does: it checks the documents in src against the schema, and writes their types to src/gql.
import type { CodegenConfig } from "@graphql-codegen/cli";

const config: CodegenConfig = {
  // The file of this project; `duologue schema` prints the same. Take a copy along with this folder.
  schema: "../../schema.graphql",
  documents: "src/*.ts",
  generates: {
    "src/gql/": {
      preset: "client",
      presetConfig: { fragmentMasking: false },
      // The documents are texts, so that nothing in the browser has to print them.
      config: { documentMode: "string", scalars: { DateTime: "string" }, useTypeImports: true, enumsAsTypes: true },
    },
  },
};

export default config;
