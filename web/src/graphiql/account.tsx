// Who you are on a server where people sign in: a form in the corner, beside the examples that do the same by hand.
import { Button } from "@graphiql/react";
import { type FormEvent, useRef, useState, useSyncExternalStore } from "react";
import { postGraphQL } from "../request";
import { authorizedFetch, mayLeave, session, signOut } from "../session";

const PAYLOAD = "{ accessToken refreshToken viewer { user { name } } userErrors { message } }";
const SIGN_IN = `mutation ($input: SignInInput!) { signIn(input: $input) ${PAYLOAD} }`;
const SIGN_UP = `mutation ($input: SignUpInput!) { signUp(input: $input) ${PAYLOAD} }`;

interface Payload {
  accessToken: string | null;
  userErrors: { message: string }[];
}

/** Gives what is to be fixed; nothing once signed in. The session learns the tokens from the answer. */
async function enter(query: string, input: Record<string, FormDataEntryValue>): Promise<string> {
  const response = await postGraphQL(query, { input }, { fetch: authorizedFetch });
  const { data, errors } = (await response.json()) as { data?: Record<string, Payload>; errors?: { message: string }[] };
  const [payload] = Object.values(data ?? {});
  return [...(errors ?? []), ...(payload?.userErrors ?? [])].map(({ message }) => message).join(" ");
}

export function Account({ canSignUp }: { canSignUp: boolean }) {
  const current = useSyncExternalStore(session.subscribe, session.get);
  const dialog = useRef<HTMLDialogElement>(null);
  if (current) {
    return (
      <>
        <span>Signed in{current.name ? ` as ${current.name}` : ""}</span>
        <Button type="button" onClick={async () => (await mayLeave()) && signOut()}>
          Sign out
        </Button>
      </>
    );
  }
  return (
    <>
      <Button type="button" onClick={() => dialog.current?.showModal()}>
        Sign in
      </Button>
      <dialog ref={dialog} className="account" aria-label="Your account">
        <Form canSignUp={canSignUp} close={() => dialog.current?.close()} />
      </dialog>
    </>
  );
}

function Form({ canSignUp, close }: { canSignUp: boolean; close: () => void }) {
  const [isNew, setNew] = useState(false);
  const [problem, setProblem] = useState("");
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const input = Object.fromEntries(new FormData(event.currentTarget));
    setProblem(await enter(isNew ? SIGN_UP : SIGN_IN, input).catch(() => "The server cannot be reached. Try again."));
  };
  return (
    <form onSubmit={submit}>
      <h2>{isNew ? "Create account" : "Sign in"}</h2>
      {isNew && (
        <label>
          Name <input name="name" autoComplete="name" required maxLength={100} />
        </label>
      )}
      <label>
        Email <input name="email" type="email" autoComplete="username" required />
      </label>
      <label>
        Password
        <input
          name="password"
          type="password"
          autoComplete={isNew ? "new-password" : "current-password"}
          required
          minLength={isNew ? 12 : 1}
        />
      </label>
      <p>You stay signed in until you close this tab.</p>
      {problem && <p role="alert">{problem}</p>}
      <Button type="submit">{isNew ? "Create account" : "Sign in"}</Button>
      {canSignUp && (
        <Button
          type="button"
          onClick={() => {
            setNew(!isNew);
            setProblem("");
          }}
        >
          {isNew ? "Sign in instead" : "Create account"}
        </Button>
      )}
      <Button type="button" onClick={close}>
        Cancel
      </Button>
    </form>
  );
}
