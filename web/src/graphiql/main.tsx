// Shows GraphiQL and connects it to the server that sent the page.
import "./workers";
import "@graphiql/react/style.css";
import "@graphiql/plugin-doc-explorer/style.css";
import "@graphiql/plugin-history/style.css";
import "graphiql/graphiql.css";
import "./page.css";
import { createGraphiQLFetcher, createLocalStorage, StorageAPI } from "@graphiql/toolkit";
import { GraphiQL } from "graphiql";
import { createRoot } from "react-dom/client";
import { examples } from "./examples";

const endpoint = new URL("/graphql", location.origin);
const socket = new URL(endpoint);
socket.protocol = endpoint.protocol === "https:" ? "wss:" : "ws:";

const fetcher = createGraphiQLFetcher({
  url: endpoint.href,
  subscriptionUrl: socket.href,
  // Neither @defer nor @stream here: ask for plain JSON.
  enableIncrementalDelivery: false,
});

// A name of our own: another GraphiQL once opened on the same host and port would hide the examples behind its tabs.
const storage = createLocalStorage({ namespace: "duologue" });

// GraphiQL fills the first editors from its storage, not from the first tab: without this the variables would be empty.
const saved = new StorageAPI(storage);
if (!saved.get("tabState")) {
  saved.set("query", examples[0].query);
  saved.set("variables", examples[0].variables);
}

createRoot(document.getElementById("app")!).render(
  <GraphiQL fetcher={fetcher} storage={storage} defaultTabs={[...examples]} defaultEditorToolsVisibility="variables" />,
);
