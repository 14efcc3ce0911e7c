// Small things that several screens show.
/** @jsxImportSource preact */
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { connection, type Failure, pauseAfter, request } from "./api";
import { initialsOf } from "./format";
import { PEOPLE, type People, type Person, type Presence } from "./operations";
import { useSearch } from "./search";

const HUES = 6;
/** Keystrokes that follow each other faster are searched for together. */
const SEARCH_AFTER = 200;
/** As after so many failures. */
const RARELY = 4;

function hueOf(id: string): number {
  return [...id].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)!) % 997, 7) % HUES;
}

/** Nothing while this page is offline: then it does not know. */
export function presenceOf(person: Person | null): Presence | null {
  return connection.value === "lost" ? null : (person?.presence ?? null);
}

export function Avatar({ person }: { person: Person | null }) {
  return (
    <span class={`avatar hue-${person ? hueOf(person.id) : "none"}`}>
      <span aria-hidden="true">{person ? initialsOf(person.name) : "–"}</span>
      {presenceOf(person)?.online && (
        <span class="dot">
          <span class="hidden">Online</span>
        </span>
      )}
    </span>
  );
}

export const nameOf = (person: Person | null) => person?.name ?? "Deleted account";

/** A name within a sentence, which keeps its order whatever the direction of the name is. */
export const Name = ({ of }: { of: Person | null }) => <bdi>{nameOf(of)}</bdi>;

export function NewPassword({ label }: { label: string }) {
  return (
    <>
      <label class="field">
        {label}
        <input
          name="password"
          type="password"
          required
          minLength={12}
          maxLength={256}
          autocomplete="new-password"
          aria-describedby="password-hint"
        />
      </label>
      <p id="password-hint" class="hint">
        At least 12 characters.
      </p>
    </>
  );
}

/** A page with one thing on it. */
export function Page({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <main class="page">
      <div class="card">
        <p class="brand">
          <img src="/icon.svg" alt="" width="32" height="32" /> Duologue
        </p>
        <h1>{title}</h1>
        {children}
        <p class="about">
          A chat between two people, made with the <a href="/">GraphQL API</a> of this server.
        </p>
      </div>
    </main>
  );
}

/** Why a page is not there. What may go well another time is tried again now and then; meanwhile nothing moves or loses the focus. */
export function Trouble({ failure, retry }: { failure: Failure; retry: () => void }) {
  /** The failure after which it was tried again: what became of it is not known yet. */
  const [tried, setTried] = useState<Failure | null>(null);
  const isBusy = tried === failure;
  function again() {
    if (isBusy) return;
    setTried(failure);
    retry();
  }
  useEffect(() => {
    if (!failure.isTemporary || isBusy) return;
    let isWaiting = true;
    void pauseAfter(failure, RARELY).then(() => isWaiting && again());
    return () => void (isWaiting = false);
  }, [failure, isBusy]);
  return (
    <Page title="This did not work">
      <p role="alert">{failure.message}</p>
      <button type="button" class="primary" aria-disabled={isBusy} onClick={again}>
        Retry
      </button>
    </Page>
  );
}

/** Why a list is not there. */
export function Failed({ failure, retry }: { failure: Failure; retry: () => void }) {
  return (
    <p class="note" role="alert">
      {failure.message}{" "}
      <button type="button" onClick={retry}>
        Retry
      </button>
    </p>
  );
}

/** Nothing yet; after a while it says so. */
export function Waiting() {
  return (
    <main class="page">
      <p class="waiting" role="status">
        Loading…
      </p>
    </main>
  );
}

/** People whose name or address begins with a text; all for an empty one. */
export function usePeople(search: string) {
  return useSearch(search, search ? SEARCH_AFTER : 0, async (search, after) => {
    const { users } = await request<People>(PEOPLE, { search, after });
    const { hasNextPage, endCursor } = users.pageInfo;
    return { items: users.nodes, more: hasNextPage ? endCursor : null };
  });
}

interface PeopleListProps {
  label: string;
  search: string;
  /** Not shown: the reader. */
  without?: string;
  addressOf: (person: Person) => string;
  choose: (person: Person) => void;
}

export function PeopleList(props: PeopleListProps) {
  return <PeopleFound {...props} found={usePeople(props.search.trim())} />;
}

interface PeopleFoundProps extends PeopleListProps {
  found: ReturnType<typeof usePeople>;
}

export function PeopleFound({ label, search, found, without, addressOf, choose }: PeopleFoundProps) {
  const { page, isReady, failure, more, now } = found;
  const shown = page?.items.filter(({ id }) => id !== without) ?? [];
  if (failure) return <Failed failure={failure} retry={now} />;
  return (
    <>
      <ul class="rows" aria-label={label} aria-busy={!isReady}>
        {shown.map((person) => (
          <li key={person.id}>
            <a class="row" href={addressOf(person)} onClick={inPlace(() => choose(person))}>
              <Avatar person={person} />
              <span class="name" dir="auto">
                {person.name}
              </span>
              {shown.some(({ id, name }) => name === person.name && id !== person.id) && <small>{person.id}</small>}
            </a>
          </li>
        ))}
      </ul>
      <p class="note" role="status">
        {isReady && shown.length === 0 && (search ? "Nobody with such a name." : "Nobody else is here yet.")}
      </p>
      {more && (
        <button type="button" class="more" onClick={more}>
          Show more people
        </button>
      )}
    </>
  );
}

/** For a link: a plain click stays on the page, any other opens a window as the browser does it. */
export function inPlace(act: () => unknown) {
  return (event: MouseEvent) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    act();
  };
}
