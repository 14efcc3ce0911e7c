// Makes the examples one story on any server: the ids that one answer tells are filled into the tabs that need them.
import { useGraphiQL } from "@graphiql/react";
import { StorageAPI } from "@graphiql/toolkit";
import { useEffect, useSyncExternalStore } from "react";
import { type Example, type Ids, json, type Role } from "./example";

type Variables = Record<string, unknown>;

export class Story {
  private readonly listeners = new Set<() => void>();
  /** All ids that were ever those of a role, the newest last: any other was written by the reader, and stays. */
  private known: Partial<Record<Role, string[]>>;
  /** The ids that an example begins with were replaced: from then on they are like any other. */
  private readonly filled: Set<string>;

  constructor(
    private readonly examples: Record<string, Example>,
    private readonly storage: StorageAPI,
  ) {
    const { known = {}, filled = [] } = JSON.parse(storage.get("story") || "{}");
    this.known = known;
    this.filled = new Set(filled);
  }

  readonly subscribe = (listener: () => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly ids = () => this.known;

  readonly idOf = (role: Role): string | undefined => this.known[role]?.at(-1);

  /** An example has an answer. */
  async hear(operation: string, data: unknown, variables: Variables) {
    let ids: Ids = {};
    try {
      ids = (await this.examples[operation]?.learn?.(data, variables)) ?? {};
    } catch {
      // The reader has made something else of the example.
    }
    for (const [role, id] of Object.entries(ids) as [Role, string | null | undefined][]) {
      const before = this.known[role] ?? [];
      if (!id || before.at(-1) === id) continue;
      this.known = { ...this.known, [role]: [...before.filter((its) => its !== id), id] };
    }
    this.keep();
    this.listeners.forEach((listener) => listener());
  }

  /** The variables of a tab with the ids that are known by now. */
  fill(operation: string, text: string): string {
    const { places = {}, variables } = this.examples[operation] ?? { variables: "" };
    try {
      const filled: Variables = JSON.parse(text);
      const first: Variables = JSON.parse(variables || "{}");
      for (const [path, role] of Object.entries(places)) {
        const id = this.idOf(role);
        const [holder, name] = find(filled, path);
        const [example] = find(first, path);
        const isFirst = holder[name] === example[name] && !this.filled.has(`${operation} ${path}`);
        if (!id || !(isFirst || this.known[role]?.includes(String(holder[name])))) continue;
        holder[name] = id;
        this.filled.add(`${operation} ${path}`);
      }
      this.keep();
      const next = json(filled);
      return next === json(JSON.parse(text)) ? text : next;
    } catch {
      // It is not what it was: the reader is writing.
      return text;
    }
  }

  private keep() {
    this.storage.set("story", JSON.stringify({ known: this.known, filled: [...this.filled] }));
  }
}

/** The object that a path such as `input.senderId` ends in, and the name there. */
function find(variables: Variables, path: string): [Variables, string] {
  const names = path.split(".");
  const last = names.pop()!;
  return [names.reduce((at, name) => at[name] as Variables, variables), last];
}

/** Fills a tab when it is opened, and the one that is open as soon as an id is known. */
export function StoryFiller({ story }: { story: Story }) {
  const ids = useSyncExternalStore(story.subscribe, story.ids);
  const editor = useGraphiQL((state) => state.variableEditor);
  const title = useGraphiQL((state) => state.tabs[state.activeTabIndex]?.title);
  useEffect(() => {
    if (!editor || !title) return;
    const text = editor.getValue();
    const filled = story.fill(title, text);
    if (filled !== text) editor.setValue(filled);
  }, [ids, editor, title]);
  return null;
}
