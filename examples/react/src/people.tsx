// Finds people by how words of their names begin.
import { useEffect, useId, useState } from "react";
import { ask } from "./connection";
import { People as Find } from "./documents";
import type { PeopleQuery } from "./gql/graphql";

/** A moment after the last key, in milliseconds. */
const MOMENT = 200;

/** With `isEager` all are shown before anything is typed. */
export function People({ label, isEager, onPick }: { label: string; isEager?: boolean; onPick: (id: string) => void }) {
  const [search, setSearch] = useState("");
  const [found, setFound] = useState<PeopleQuery["users"]["nodes"]>([]);
  const [problem, setProblem] = useState<string | null>(null);
  const id = useId();

  useEffect(() => {
    if (!search && !isEager) return setFound([]);
    const stopping = new AbortController();
    // A late answer to an earlier text is dropped.
    const show = ({ users }: PeopleQuery) => {
      if (stopping.signal.aborted) return;
      setProblem(null);
      setFound(users.nodes);
    };
    const failed = (failure: Error) => stopping.signal.aborted || setProblem(failure.message);
    const timer = setTimeout(() => ask(Find, { search }, stopping.signal).then(show, failed), search ? MOMENT : 0);
    return () => {
      stopping.abort();
      clearTimeout(timer);
    };
  }, [search, isEager]);

  return (
    <div className="people">
      <label htmlFor={id}>{label}</label>
      <input id={id} type="search" value={search} onChange={(event) => setSearch(event.target.value)} />
      {problem && <p role="alert">{problem}</p>}
      <ul aria-label="People">
        {found.map((person) => (
          <li key={person.id}>
            <button type="button" onClick={() => { setSearch(""); onPick(person.id); }}>
              <bdi>{person.name}</bdi>
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
