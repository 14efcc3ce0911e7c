// Who you are: somebody of your choice where nobody signs in, else whoever has the password.
/** @jsxImportSource preact */
import { useRef, useState } from "preact/hooks";
import { session } from "../session";
import { useAction } from "./action";
import { mutate } from "./api";
import { onEnter, stepThroughRows } from "./keys";
import { CREATE_USER, SIGN_IN, SIGN_UP, type Created, type Payload } from "./operations";
import { NewPassword, Page, PeopleFound, usePeople, Waiting } from "./parts";
import { addressOf, go } from "./route";

async function createUser(name: string): Promise<string> {
  // Addresses must differ; nobody writes to these.
  const email = `demo-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}@example.com`;
  const { user } = await mutate<Created>(CREATE_USER, { name, email });
  return user!.id;
}

/** Where nobody signs in: pick a person, or make one. */
export function Pick() {
  const [search, setSearch] = useState("");
  const people = useRef<HTMLDivElement>(null);
  const found = usePeople(search.trim());
  const make = useAction(async ({ name }) => go({ as: await createUser(name!), with: null }));
  const makeTwo = useAction(async () => {
    const as = await createUser("Ada");
    go({ as, with: await createUser("Bob") });
  });
  if (!found.page && !found.failure) return <Waiting />;
  const isEmpty = !search && found.isReady && found.page?.items.length === 0;
  return (
    <Page title="Who are you?">
      {isEmpty ? (
        <form onSubmit={makeTwo.submit}>
          <p>Nobody is here yet. Make two people, and open a window for each.</p>
          <button class="primary" aria-disabled={makeTwo.isBusy}>
            Make Ada and Bob
          </button>
          {makeTwo.trouble}
        </form>
      ) : (
        <div ref={people} class="people" onKeyDown={(event) => stepThroughRows(event, people.current!)}>
          <p>On this server nobody signs in: you may be anybody. A second window may be somebody else.</p>
          <label class="field">
            Find a person
            <input
              type="search"
              value={search}
              onInput={(event) => setSearch(event.currentTarget.value)}
              onKeyDown={onEnter(people)}
            />
          </label>
          <PeopleFound
            label="People"
            search={search}
            found={found}
            addressOf={({ id }) => addressOf({ as: id })}
            choose={({ id }) => go({ as: id, with: null })}
          />
        </div>
      )}
      <form class="inline" onSubmit={make.submit}>
        <label for="new-name">Or somebody new</label>
        <input id="new-name" name="name" required maxLength={100} placeholder="Name" autocomplete="off" />
        <button aria-disabled={make.isBusy}>Create</button>
        {make.trouble}
      </form>
    </Page>
  );
}

/** What the list of devices calls this one. */
const device = `Chat demo on ${navigator.platform || "some device"}`.slice(0, 100);

/** Where people sign in. What signs in is noticed by `session.ts`. */
export function SignIn({ ended, canSignUp }: { ended: boolean; canSignUp: boolean }) {
  const [isNew, setNew] = useState(false);
  const { isBusy, submit, trouble, forget } = useAction(async ({ keep, ...fields }) => {
    session.isKept = keep !== undefined;
    await mutate<Payload>(isNew ? SIGN_UP : SIGN_IN, { ...fields, device });
  });
  const title = isNew ? "Create account" : "Sign in";
  function toggle() {
    setNew(!isNew);
    forget();
  }
  return (
    <Page title={title}>
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
        {isNew ? (
          <NewPassword label="Password" />
        ) : (
          <label class="field">
            Password
            <input name="password" type="password" required maxLength={256} autocomplete="current-password" />
          </label>
        )}
        <label class="check">
          <input type="checkbox" name="keep" defaultChecked aria-describedby="keep-hint" />
          Stay signed in on this device
        </label>
        <p id="keep-hint" class="hint">
          Otherwise until you close this tab.
        </p>
        <button class="primary" aria-disabled={isBusy}>
          {title}
        </button>
        {trouble}
      </form>
      {canSignUp && (
        <button type="button" class="link" onClick={toggle}>
          {isNew ? "Sign in instead" : "Create account"}
        </button>
      )}
    </Page>
  );
}
