// Starts the chat demo: finds out what server this is and who is here, and shows the chat.
/** @jsxImportSource preact */
import { signal, useSignalEffect } from "@preact/signals";
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { session, signOut } from "../session";
import { useAnswer } from "./answer";
import { asFailure, Failure, request } from "./api";
import { Chat } from "./chat";
import { ConversationPane } from "./conversation";
import { ME, SERVER, type Me, type Server } from "./operations";
import "./page.css";
import "./panes.css";
import "./conversation.css";
import "./overlays.css";
import "./touch.css";
import { Page, Trouble, Waiting } from "./parts";
import { go, route } from "./route";
import { Sidebar } from "./sidebar";
import { Pick, SignIn } from "./welcome";

function App() {
  const { answer, retry } = useAnswer(async () => (await request<{ server: Server }>(SERVER)).server);
  if (!answer) return <Waiting />;
  if (answer instanceof Failure) return <Trouble failure={answer} retry={retry} />;
  if (answer.features.includes("accounts")) return <WithSession server={answer} />;
  const me = route.value.as;
  return me ? <WithChat key={me} me={me} server={answer} leave={() => go({ as: null, with: null })} /> : <Pick />;
}

/** The session that is there: another tab may sign in as somebody else. */
const sessionId = signal(session.id());
const hasEnded = signal(session.hasEnded());
session.subscribe(() => {
  // Whoever comes next has other conversations.
  if (sessionId.value && sessionId.value !== session.id()) go({ with: null });
  sessionId.value = session.id();
  hasEnded.value = session.hasEnded();
});

function WithSession({ server }: { server: Server }) {
  const id = sessionId.value;
  return id ? <WithViewer key={id} server={server} /> : <SignIn ended={hasEnded.value} canSignUp={server.features.includes("sign-up")} />;
}

function WithViewer({ server }: { server: Server }) {
  const { answer, retry } = useAnswer(() => request<Me>(ME));
  if (!answer) return <Waiting />;
  if (answer instanceof Failure) return <Trouble failure={answer} retry={retry} />;
  return answer.me ? <WithChat me={answer.me.user.id} server={server} leave={signOut} /> : <Waiting />;
}

interface WithChatProps {
  me: string;
  server: Server;
  leave: () => void;
}

function WithChat({ me, server, leave }: WithChatProps) {
  const [chat, setChat] = useState<Chat | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    const next = new Chat(me);
    next.start(route.value.with).then(() => setChat(next), (error) => setFailure(asFailure(error)));
    return () => next.stop();
  }, [attempt]);
  if (!chat) return failure ? <Trouble failure={failure} retry={() => setAttempt(attempt + 1)} /> : <Waiting />;
  if (chat.isGone.value) {
    return (
      <Page title="Nobody there">
        <p role="alert">There is no such account on this server.</p>
        <button type="button" class="primary" onClick={leave}>
          Be somebody else
        </button>
      </Page>
    );
  }
  return <Shown chat={chat} server={server} leave={leave} />;
}

interface ShownProps {
  chat: Chat;
  server: Server;
  leave: () => void;
}

function Shown({ chat, server, leave }: ShownProps) {
  const hasAccounts = server.features.includes("accounts");
  useSignalEffect(() => {
    const key = route.value.with;
    if (key !== chat.openKey.peek()) void chat.show(key);
  });
  useSignalEffect(() => {
    const unread = chat.unread.value;
    const name = chat.open.value?.peer?.name;
    document.title = `${unread ? `(${unread}) ` : ""}${name ? `\u2068${name}\u2069 · ` : ""}Duologue`;
    return () => void (document.title = "Duologue");
  });
  return (
    <div class="chat" data-open={chat.openKey.value !== null}>
      <div class="banner" role="status">
        {chat.feed.banner.value === "offline" && "Offline. What you write is sent when the connection is back."}
        {chat.feed.banner.value === "catching up" && "Catching up…"}
      </div>
      <Sidebar
        chat={chat}
        hasAccounts={hasAccounts}
        hasSearch={server.features.includes("search")}
        leave={leave}
      />
      <ConversationPane chat={chat} hasAccounts={hasAccounts} maxLength={server.maxContentLength} />
    </div>
  );
}

render(<App />, document.getElementById("app")!);
