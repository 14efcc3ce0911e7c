// What people do with their accounts: change the password, sign out other devices, block somebody and take it back.
/** @jsxImportSource preact */
import { useState } from "preact/hooks";
import { useAction } from "./action";
import { useAnswer } from "./answer";
import { Failure, mutate, request } from "./api";
import type { Chat } from "./chat";
import { Dialog } from "./dialog";
import { exactTimeOf } from "./format";
import { ACCOUNT, CHANGE_PASSWORD, SIGN_OUT, type Account } from "./operations";
import { Avatar, Failed, NewPassword } from "./parts";

interface Props {
  chat: Chat;
  close: () => void;
}

const loadAccount = async () => (await request<Account>(ACCOUNT)).me!;

/** The account, or that it is on its way, or why it is not there. */
function useAccount() {
  const { answer, retry } = useAnswer(loadAccount);
  const failed = answer instanceof Failure && <Failed failure={answer} retry={retry} />;
  return {
    account: answer && !(answer instanceof Failure) ? answer : null,
    missing: failed || (!answer && <p class="waiting">Loading…</p>),
    reload: retry,
  };
}

export function PasswordDialog({ chat, close }: Props) {
  const [isDone, setDone] = useState(false);
  const { account, missing } = useAccount();
  const { isBusy, submit, trouble } = useAction(async ({ password }) => {
    await mutate(CHANGE_PASSWORD, { me: chat.me, password });
    setDone(true);
  });
  if (isDone)
    return (
      <Dialog title="Change password" close={close}>
        <p role="status">Your password is changed. Your other devices are signed out.</p>
      </Dialog>
    );
  const button = (
    <button class="primary" form="password-form" aria-disabled={isBusy}>
      Change password
    </button>
  );
  return (
    <Dialog title="Change password" closing="Cancel" buttons={button} close={close}>
      <form id="password-form" onSubmit={submit}>
        {/* For those who keep passwords: whose it is. */}
        <input
          class="hidden"
          type="email"
          autocomplete="username"
          value={account?.user.email ?? ""}
          readOnly
          tabIndex={-1}
          aria-hidden="true"
        />
        <NewPassword label="New password" />
        <p class="hint">All your other devices are signed out.</p>
        {trouble}
      </form>
      {missing}
    </Dialog>
  );
}

export function DevicesDialog({ close }: Props) {
  const { account, missing, reload } = useAccount();
  const { run, isBusy, trouble } = useAction(async ({ session }) => {
    await mutate(SIGN_OUT, { session });
    reload();
  });
  return (
    <Dialog title="Devices that are signed in" close={close}>
      <ul class="entries">
        {account?.sessions.map(({ id, device, current, lastUsedAt }) => (
          <li key={id}>
            <p dir="auto">
              {device ?? "A device without a name"}
              <small>{current ? "This device" : `Last used ${exactTimeOf(lastUsedAt)}`}</small>
            </p>
            {!current && (
              <button type="button" aria-disabled={isBusy} onClick={() => run({ session: id })}>
                Sign out
              </button>
            )}
          </li>
        ))}
      </ul>
      {missing}
      {trouble}
    </Dialog>
  );
}

export function BlockedDialog({ chat, close }: Props) {
  const { account, missing, reload } = useAccount();
  const { run, isBusy, trouble } = useAction(async ({ id }) => {
    await chat.unblock(id!);
    reload();
  });
  const blocked = account?.blockedUsers.nodes;
  return (
    <Dialog title="Blocked people" close={close}>
      <ul class="entries">
        {blocked?.map((person) => (
          <li key={person.id}>
            <Avatar person={person} />
            <p dir="auto">{person.name}</p>
            <button type="button" aria-disabled={isBusy} onClick={() => run({ id: person.id })}>
              Unblock
            </button>
          </li>
        ))}
      </ul>
      {blocked?.length === 0 && <p>You have blocked nobody.</p>}
      {missing}
      {trouble}
    </Dialog>
  );
}
