// What a form does.
/** @jsxImportSource preact */
import { useState } from "preact/hooks";
import { asFailure, type Failure } from "./api";

type Fields = Record<string, string>;

/** At most once at a time, and it says why it could not. Its button keeps the focus meanwhile: it is not `disabled`. */
export function useAction(action: (fields: Fields) => Promise<void>) {
  const [isBusy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Failure | null>(null);
  async function run(fields: Fields = {}) {
    if (isBusy) return;
    setBusy(true);
    setFailure(null);
    await action(fields)
      .catch((error) => setFailure(asFailure(error)))
      .finally(() => setBusy(false));
  }
  function submit(event: SubmitEvent) {
    event.preventDefault();
    void run(Object.fromEntries(new FormData(event.currentTarget as HTMLFormElement)) as Fields);
  }
  const trouble = (
    <p class="trouble" role="alert">
      {failure?.message}
    </p>
  );
  return { isBusy, run, submit, trouble, forget: () => setFailure(null) };
}
