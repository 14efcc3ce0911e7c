// The panel beside the editors that shows subscriptions as they run, whatever tab is open.
import { Button, type GraphiQLPlugin, pick, tryParseJSONC, useGraphiQL } from "@graphiql/react";
import { type FormEvent, useState, useSyncExternalStore } from "react";
import type { Story } from "./story";
import { type Answer, type Stream, allStreams, eventOf, remove, start, stop, subscribe } from "./streams";

const FEED = `subscription Feed($user: ID, $after: String) {
  feed(userId: $user, after: $after) {
    kind cursor at messageId
    message { id content version sender { name } receiver { name } status }
    member { user { name } readThrough { messageId } deliveredThrough { messageId } }
    user { id name }
  }
}`;

export const LIVE_FEED = "Live feed";

const useStreams = () => useSyncExternalStore(subscribe, allStreams);

/** The panel, for a server where people sign in or not. */
export function livePanel(socket: string, accounts: boolean, story: Story): GraphiQLPlugin {
  return {
    title: LIVE_FEED,
    icon: Icon,
    content: () => (
      <section className="live" aria-label={LIVE_FEED}>
        <h2>{LIVE_FEED}</h2>
        <WatchFeed socket={socket} accounts={accounts} story={story} />
        <WatchTab socket={socket} />
        <Streams />
      </section>
    ),
  };
}

function Icon() {
  const live = useStreams().some(({ status }) => status === "live");
  return (
    <svg viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth="1.5" strokeLinecap="round">
      <circle cx="12" cy="12" r={live ? 3.5 : 1.5} fill="currentColor" />
      <path d="M7.5 16.5a6.4 6.4 0 0 1 0-9M16.5 7.5a6.4 6.4 0 0 1 0 9M4.6 19.4a10.5 10.5 0 0 1 0-14.8M19.4 4.6a10.5 10.5 0 0 1 0 14.8" />
    </svg>
  );
}

function WatchFeed({ socket, accounts, story }: { socket: string; accounts: boolean; story: Story }) {
  const bob = useSyncExternalStore(story.subscribe, () => story.idOf("bob")) ?? "usr_2";
  const [chosen, setUser] = useState<string | null>(null);
  const user = accounts ? "" : (chosen ?? bob);
  const watch = (event: FormEvent) => {
    event.preventDefault();
    start({ query: FEED, operationName: "Feed", variables: user ? { user } : {} }, socket);
  };
  return (
    <form onSubmit={watch}>
      {accounts || (
        <label>
          Whose feed <input value={user} onChange={({ target }) => setUser(target.value.trim())} required size={10} />
        </label>
      )}
      <Button type="submit">{accounts ? "Watch your feed" : "Watch feed"}</Button>
      <p>It goes on while you work in the tabs, and over a lost connection.</p>
    </form>
  );
}

/** Offers to run the subscription that is in the editor. */
function WatchTab({ socket }: { socket: string }) {
  const { queryEditor, variableEditor, headerEditor, operationName, operations } = useGraphiQL(
    pick("queryEditor", "variableEditor", "headerEditor", "operationName", "operations"),
  );
  const [problem, setProblem] = useState("");
  const chosen = operations?.find(({ name }) => !operationName || name?.value === operationName);
  if (chosen?.operation !== "subscription") return null;
  const watch = () => {
    try {
      const variables = tryParseJSONC(variableEditor?.getValue());
      const headers = tryParseJSONC(headerEditor?.getValue());
      start({ query: queryEditor!.getValue(), operationName, variables, headers }, socket);
      setProblem("");
    } catch (error) {
      setProblem(`The variables or headers of this tab are no JSON: ${(error as Error).message}`);
    }
  };
  return (
    <p>
      <Button type="button" onClick={watch}>
        Run this tab’s subscription here
      </Button>{" "}
      {problem && <span role="alert">{problem}</span>}
    </p>
  );
}

function Streams() {
  return useStreams().map((stream) => (
    <article key={stream.id} aria-label={stream.title}>
      <header>
        <h3>{stream.title}</h3>
        <span className={`status ${stream.status}`} role="status">
          {stream.status}
        </span>
        {stream.status === "ended" ? (
          <Button type="button" onClick={() => remove(stream.id)}>
            Remove
          </Button>
        ) : (
          <Button type="button" onClick={() => stop(stream.id)}>
            Stop
          </Button>
        )}
      </header>
      <Answers of={stream} />
    </article>
  ));
}

function Answers({ of }: { of: Stream }) {
  return (
    <div role="log" aria-label={`Events of ${of.title}, newest first`}>
      {of.answers.map((answer) => (
        <details key={answer.number}>
          <summary>
            <time dateTime={answer.at.toISOString()}>{answer.at.toLocaleTimeString()}</time> <Summary of={answer} />
          </summary>
          <pre tabIndex={0}>{JSON.stringify(answer.errors ?? answer.data, null, 2)}</pre>
        </details>
      ))}
    </div>
  );
}

/** An answer in one line: what happened, and what was said. */
function Summary({ of: { data, errors } }: { of: Answer }) {
  if (errors) return <span className="problem">{toSentence(errors)}</span>;
  const event = eventOf(data);
  if (typeof event?.kind !== "string") return JSON.stringify(data);
  const { content } = (event.message ?? {}) as { content?: unknown };
  return (
    <>
      <b>{event.kind}</b> {typeof content === "string" ? content : null}
    </>
  );
}

/** What went wrong, for people; the details are one click away. */
function toSentence(errors: unknown): string {
  if (!Array.isArray(errors)) return String(errors);
  return errors.map(({ message }: { message: string }) => message).join(" ");
}
