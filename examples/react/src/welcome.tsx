// Who is it? Where people sign in they say so with a password; on an open server everybody may be anybody.
import { useState } from "react";
import { Create, SignIn as In, SignUp as Up } from "./documents";
import { People } from "./people";
import { request } from "./request";
import * as session from "./session";

/** A form whose answer may be a problem. Each press of its button is one try. */
function useForm(submit: (field: (name: string) => string) => Promise<string | undefined>) {
  const [problem, setProblem] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  async function action(data: FormData): Promise<void> {
    setBusy(true);
    const found = await submit((name) => String(data.get(name))).catch((failure: Error) => failure.message);
    setProblem(found ?? null);
    setBusy(false);
  }
  const onSubmit = (event: React.FormEvent<HTMLFormElement>) => {
    // Unlike `action`, this keeps what was typed.
    event.preventDefault();
    void action(new FormData(event.currentTarget));
  };
  return { onSubmit, isBusy, problem: problem && <p role="alert">{problem}</p> };
}

export function SignIn() {
  const [isNew, setNew] = useState(false);
  const { onSubmit, isBusy, problem } = useForm(async (field) => {
    const account = { email: field("email"), password: field("password"), device: "Browser" };
    const answer = isNew
      ? (await request(Up, { input: { ...account, name: field("name") } })).signUp
      : (await request(In, { input: account })).signIn;
    if (answer.viewer) session.keep(answer, answer.viewer.user.id);
    return answer.userErrors[0]?.message;
  });
  return (
    <main className="welcome">
      <h1>{isNew ? "Create an account" : "Sign in"}</h1>
      <form onSubmit={onSubmit}>
        {isNew && <label>Name <input name="name" autoComplete="name" required /></label>}
        <label>Email <input name="email" type="email" autoComplete="username" required /></label>
        <label>
          Password
          <input name="password" type="password" autoComplete={isNew ? "new-password" : "current-password"} required />
        </label>
        {problem}
        <button disabled={isBusy}>{isNew ? "Create account" : "Sign in"}</button>
      </form>
      <button type="button" className="link" onClick={() => setNew(!isNew)}>
        {isNew ? "I have an account" : "I have no account yet"}
      </button>
    </main>
  );
}

export function PickPerson({ onPick }: { onPick: (id: string) => void }) {
  const { onSubmit, isBusy, problem } = useForm(async (field) => {
    const input = { name: field("name"), email: field("email") };
    const { user, userErrors } = (await request(Create, { input })).createUser;
    if (user) onPick(user.id);
    return userErrors[0]?.message;
  });
  return (
    <main className="welcome">
      <h1>Who are you?</h1>
      <p>Nobody signs in on this server.</p>
      <People label="Find yourself" isEager onPick={onPick} />
      <h2>Somebody new</h2>
      <form onSubmit={onSubmit}>
        <label>Name <input name="name" required /></label>
        <label>Email <input name="email" type="email" required /></label>
        {problem}
        <button disabled={isBusy}>Create</button>
      </form>
    </main>
  );
}
