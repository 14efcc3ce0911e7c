// Shows GraphiQL and connects it to the server that sent the page.
import "./workers";
import "@graphiql/react/style.css";
import "@graphiql/plugin-doc-explorer/style.css";
import "@graphiql/plugin-history/style.css";
import "graphiql/graphiql.css";
import "./page.css";
import { Button, useGraphiQL } from "@graphiql/react";
import { createLocalStorage, StorageAPI } from "@graphiql/toolkit";
import { HISTORY_PLUGIN } from "@graphiql/plugin-history";
import { GraphiQL } from "graphiql";
import { useEffect } from "react";
import { createRoot } from "react-dom/client";
import { postGraphQL } from "../request";
import { Account } from "./account";
import { accountExamples } from "./account-examples";
import { createFetcher } from "./fetcher";
import { LIVE_FEED, livePanel } from "./live";
import { openExamples } from "./open-examples";
import { keepRepaired } from "./repairs";
import { Story, StoryFiller } from "./story";

const endpoint = new URL("/graphql", location.origin);
const socket = new URL(endpoint);
socket.protocol = endpoint.protocol === "https:" ? "wss:" : "ws:";

/** The optional features of this server. */
async function readFeatures(): Promise<string[]> {
  try {
    return (await (await postGraphQL("{ server { features } }")).json()).data.server.features;
  } catch {
    return [];
  }
}

const features = await readFeatures();
const accounts = features.includes("accounts");
const examples = accounts ? accountExamples : openExamples;
const tabs = Object.values(examples);

// A name of our own: another GraphiQL once opened on the same host and port would hide the examples behind its tabs.
const storage = createLocalStorage({ namespace: accounts ? "duologue-accounts" : "duologue" });

// GraphiQL fills the first editors from its storage, not from the first tab: without this the variables would be empty.
const saved = new StorageAPI(storage);
if (!saved.get("tabState")) {
  saved.set("query", tabs[0]!.query);
  saved.set("variables", tabs[0]!.variables);
  // Beside the tabs, where there is room for both.
  if (matchMedia("(width >= 45rem)").matches) saved.set("visiblePlugin", LIVE_FEED);
}

const story = new Story(examples, saved);
const fetcher = createFetcher(endpoint.href, socket.href, (...answer) => void story.hear(...answer));

/** Tabs are kept from visit to visit: this puts the examples in their place. The history keeps what was run. */
function resetExamples() {
  if (!confirm("Replace all tabs by the examples?")) return;
  for (const name of ["tabState", "query", "variables", "headers", "story"]) saved.set(name, "");
  // GraphiQL writes its tabs a moment after they changed: not any more.
  storage.setItem = () => {};
  location.reload();
}

/** The examples say what to do in comments, which must be read whole, however narrow the editor is; and so must variables. */
function WrapLines() {
  const query = useGraphiQL((state) => state.queryEditor);
  const variables = useGraphiQL((state) => state.variableEditor);
  useEffect(() => [query, variables].forEach((editor) => editor?.updateOptions({ wordWrap: "on" })), [query, variables]);
  return null;
}

const app = document.getElementById("app")!;
keepRepaired(app);
createRoot(app).render(
  <GraphiQL
    fetcher={fetcher}
    storage={storage}
    plugins={[HISTORY_PLUGIN, livePanel(socket.href, accounts, story)]}
    defaultTabs={tabs}
    defaultEditorToolsVisibility="variables"
  >
    <GraphiQL.Logo>
      <WrapLines />
      <StoryFiller story={story} />
      <div className="corner">
        <h1>Duologue</h1>
        {accounts && <Account canSignUp={features.includes("sign-up")} />}
        <Button type="button" onClick={resetExamples}>
          Reset examples
        </Button>
        <a href="/demo">Chat demo</a>
      </div>
    </GraphiQL.Logo>
  </GraphiQL>,
);
