// Shows GraphiQL and connects it to the server that sent the page.
import "./workers";
import "@graphiql/react/style.css";
import "@graphiql/plugin-doc-explorer/style.css";
import "@graphiql/plugin-history/style.css";
import "graphiql/graphiql.css";
import "./page.css";
import { createGraphiQLFetcher, createLocalStorage, StorageAPI } from "@graphiql/toolkit";
import { GraphiQL } from "graphiql";
import { useSyncExternalStore } from "react";
import { createRoot } from "react-dom/client";
import { examples, signedInExamples } from "./examples";
import { authorizedFetch, connectionParams, session, signOut } from "../session";

const endpoint = new URL("/graphql", location.origin);
const socket = new URL(endpoint);
socket.protocol = endpoint.protocol === "https:" ? "wss:" : "ws:";

const fetcher = createGraphiQLFetcher({
  url: endpoint.href,
  fetch: authorizedFetch,
  subscriptionUrl: socket.href,
  wsConnectionParams: connectionParams,
  // Neither @defer nor @stream here: ask for plain JSON.
  enableIncrementalDelivery: false,
});

/** Whether people sign in on this server. */
async function hasAccounts(): Promise<boolean> {
  const headers = { "content-type": "application/json" };
  try {
    const response = await fetch(endpoint, { method: "POST", headers, body: '{"query":"{ server { features } }"}' });
    return (await response.json()).data.server.features.includes("accounts");
  } catch {
    return false;
  }
}

function SignedIn() {
  const current = useSyncExternalStore(session.subscribe, session.get);
  if (!current) return <>Run signUp or signIn: the page then knows who you are.</>;
  return (
    <>
      Signed in{current.name ? ` as ${current.name}` : ""}{" "}
      <button type="button" className="graphiql-button" onClick={signOut}>
        Sign out
      </button>
    </>
  );
}

const accounts = await hasAccounts();
const tabs = accounts ? signedInExamples : examples;

// A name of our own: another GraphiQL once opened on the same host and port would hide the examples behind its tabs.
const storage = createLocalStorage({ namespace: accounts ? "duologue-accounts" : "duologue" });

// GraphiQL fills the first editors from its storage, not from the first tab: without this the variables would be empty.
const saved = new StorageAPI(storage);
if (!saved.get("tabState")) {
  saved.set("query", tabs[0].query);
  saved.set("variables", tabs[0].variables);
}

createRoot(document.getElementById("app")!).render(
  <GraphiQL fetcher={fetcher} storage={storage} defaultTabs={[...tabs]} defaultEditorToolsVisibility="variables">
    <GraphiQL.Logo>{accounts ? <SignedIn /> : "Duologue"}</GraphiQL.Logo>
  </GraphiQL>,
);
