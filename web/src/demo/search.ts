// A search while somebody types, page by page. An answer to what is no longer asked for is dropped.
import { useEffect, useRef, useState } from "preact/hooks";
import { asFailure, type Failure } from "./api";

export interface Page<Item> {
  items: Item[];
  /** The cursor after which there are more; null if there are none. */
  more: string | null;
}

type Ask<Its> = (search: string, after: string | null) => Promise<Its>;

/** Asks once nothing was typed for `wait` milliseconds; never for null. */
export function useSearch<Its extends Page<unknown>>(search: string | null, wait: number, ask: Ask<Its>) {
  const [found, setFound] = useState<{ search: string; page: Its } | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  /** Requests so far: only the answer to the last one counts. */
  const asked = useRef(0);
  async function load(before?: Its) {
    clearTimeout(timer.current);
    if (search === null) return;
    const number = ++asked.current;
    try {
      const page = await ask(search, before?.more ?? null);
      if (number !== asked.current) return;
      setFound({ search, page: before ? { ...page, items: [...before.items, ...page.items] } : page });
      setFailure(null);
    } catch (error) {
      const failure = asFailure(error);
      if (number === asked.current) setFailure(failure);
    }
  }
  useEffect(() => {
    asked.current++;
    if (search === null) {
      setFound(null);
      setFailure(null);
    }
    timer.current = setTimeout(load, wait);
    return () => clearTimeout(timer.current);
  }, [search]);
  const isReady = found?.search === search;
  return {
    page: found?.page ?? null,
    /** The page is of what was asked last. */
    isReady,
    failure,
    /** Not of another search: a cursor goes on with its own. */
    more: isReady && found.page.more ? () => load(found.page) : null,
    /** Asks at once, whether for the first time or again. */
    now: () => load(),
  };
}
