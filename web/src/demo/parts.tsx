// Small things that several screens show.
/** @jsxImportSource preact */
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { type Failure, request } from "./api";
import { initialsOf } from "./format";
import { PEOPLE, type People, type Person } from "./operations";

const HUES = 6;
/** Keystrokes that follow each other faster are searched for together. */
const SEARCH_AFTER = 200;

function hueOf(id: string): number {
  return [...id].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)!) % 997, 7) % HUES;
}

export function Avatar({ person }: { person: Person | null }) {
  return (
    <span class={`avatar hue-${person ? hueOf(person.id) : "none"}`}>
      <span aria-hidden="true">{person ? initialsOf(person.name) : "–"}</span>
      {person?.presence?.online && (
        <span class="dot">
          <span class="hidden">Online</span>
        </span>
      )}
    </span>
  );
}

export const nameOf = (person: Person | null) => person?.name ?? "Deleted account";

/** A page with one thing on it. */
export function Page({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <main class="page">
      <div class="card">
        <h1>{title}</h1>
        {children}
        <p class="about">
          A chat between two people, made with the <a href="/">GraphQL API</a> of this server.
        </p>
      </div>
    </main>
  );
}

export function Trouble({ failure, retry }: { failure: Failure; retry: () => void }) {
  return (
    <Page title="This did not work">
      <p role="alert">{failure.message}</p>
      <button type="button" class="primary" onClick={retry}>
        Retry
      </button>
    </Page>
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

interface Found {
  search: string;
  people: Person[];
  /** The cursor after which there are more. */
  more: string | null;
}

/** People whose name or address begins with a text; all for an empty one. */
export function usePeople(search: string) {
  const [found, setFound] = useState<Found | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const wanted = useRef(search);
  wanted.current = search;
  async function load(before: Person[], after: string | null) {
    try {
      const { users } = await request<People>(PEOPLE, { search, after });
      if (wanted.current !== search) return;
      const { hasNextPage, endCursor } = users.pageInfo;
      setFound({ search, people: [...before, ...users.nodes], more: hasNextPage ? endCursor : null });
      setFailure(null);
    } catch (error) {
      setFailure(error as Failure);
    }
  }
  useEffect(() => {
    const timer = setTimeout(() => load([], null), search ? SEARCH_AFTER : 0);
    return () => clearTimeout(timer);
  }, [search]);
  return {
    people: found?.people ?? null,
    /** The result is of what was asked last. */
    isReady: found?.search === search,
    failure,
    more: found?.more ? () => load(found.people, found.more) : null,
    again: () => load([], null),
  };
}

interface PeopleListProps {
  label: string;
  search: string;
  /** Not shown: the reader. */
  without?: string;
  addressOf: (person: Person) => string;
  choose: (person: Person) => void;
}

export function PeopleList({ label, search, without, addressOf, choose }: PeopleListProps) {
  const { people, isReady, failure, more, again } = usePeople(search.trim());
  const shown = people?.filter(({ id }) => id !== without) ?? [];
  if (failure) {
    return (
      <p class="note" role="alert">
        {failure.message}{" "}
        <button type="button" onClick={again}>
          Retry
        </button>
      </p>
    );
  }
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
export function inPlace(act: () => void) {
  return (event: MouseEvent) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    act();
  };
}
