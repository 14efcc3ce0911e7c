// Who you are: somebody of your choice where nobody signs in, else whoever has the password.
/** @jsxImportSource preact */
import { useState } from "preact/hooks";
import { mutate, type Failure } from "./api";
import { CREATE_USER, SIGN_IN, SIGN_UP, type Created, type Payload } from "./operations";
import { Page, PeopleList, usePeople, Waiting } from "./parts";
import { addressOf, go } from "./route";

/** What a form does: at most once at a time, and it says why it could not. */
function useAction(action: (fields: Record<string, string>) => Promise<void>) {
  const [isBusy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Failure | null>(null);
  async function submit(event: SubmitEvent) {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData(event.currentTarget as HTMLFormElement)) as Record<string, string>;
    if (isBusy) return;
    setBusy(true);
    setFailure(null);
    await action(fields).catch(setFailure);
    setBusy(false);
  }
  const trouble = (
    <p class="trouble" role="alert">
      {failure?.message}
    </p>
  );
  return { isBusy, submit, trouble };
}

async function createUser(name: string): Promise<string> {
  // Addresses must differ; nobody writes to these.
  const email = `demo-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}@example.com`;
  const { user } = await mutate<Created>(CREATE_USER, { name, email });
  return user!.id;
}

/** Where nobody signs in: pick a person, or make one. */
export function Pick() {
  const [search, setSearch] = useState("");
  const { page, failure } = usePeople("");
  const make = useAction(async ({ name }) => go({ as: await createUser(name!), with: null }));
  const makeTwo = useAction(async () => {
    const as = await createUser("Ada");
    go({ as, with: await createUser("Bob") });
  });
  if (!page && !failure) return <Waiting />;
  const isEmpty = page?.items.length === 0;
  return (
    <Page title="Who are you?">
      {isEmpty ? (
        <form onSubmit={makeTwo.submit}>
          <p>Nobody is here yet. Make two people, and open a window for each.</p>
          <button class="primary" disabled={makeTwo.isBusy}>
            Make Ada and Bob
          </button>
          {makeTwo.trouble}
        </form>
      ) : (
        <>
          <p>On this server nobody signs in: you may be anybody. A second window may be somebody else.</p>
          <label class="field">
            Find a person
            <input type="search" value={search} onInput={(event) => setSearch(event.currentTarget.value)} />
          </label>
          <PeopleList
            label="People"
            search={search}
            addressOf={({ id }) => addressOf({ as: id })}
            choose={({ id }) => go({ as: id, with: null })}
          />
        </>
      )}
      <form class="inline" onSubmit={make.submit}>
        <label for="new-name">Or somebody new</label>
        <input id="new-name" name="name" required maxLength={100} placeholder="Name" autocomplete="off" />
        <button disabled={make.isBusy}>Make</button>
        {make.trouble}
      </form>
    </Page>
  );
}

/** Where people sign in. What signs in is noticed by `session.ts`. */
export function SignIn({ ended }: { ended: boolean }) {
  const [isNew, setNew] = useState(false);
  const { isBusy, submit, trouble } = useAction(async (fields) => {
    await mutate<Payload>(isNew ? SIGN_UP : SIGN_IN, fields);
  });
  return (
    <Page title={isNew ? "Sign up" : "Sign in"}>
      {ended && <p role="status">Your session has ended. Sign in again to go on; what you wrote is kept.</p>}
      <form onSubmit={submit}>
        {isNew && (
          <label class="field">
            Name
            <input name="name" required maxLength={100} autocomplete="name" />
          </label>
        )}
        <label class="field">
          Email
          <input name="email" type="email" required maxLength={254} autocomplete="username" />
        </label>
        <label class="field">
          Password
          <input
            name="password"
            type="password"
            required
            minLength={isNew ? 12 : undefined}
            maxLength={256}
            autocomplete={isNew ? "new-password" : "current-password"}
          />
        </label>
        {isNew && <p class="hint">At least 12 characters.</p>}
        <button class="primary" disabled={isBusy}>
          {isNew ? "Sign up" : "Sign in"}
        </button>
        {trouble}
      </form>
      <button type="button" class="link" onClick={() => setNew(!isNew)}>
        {isNew ? "I have an account" : "Make an account"}
      </button>
    </Page>
  );
}
