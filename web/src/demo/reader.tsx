// The two menus: what the reader does with their account, and what they do about the other side.
/** @jsxImportSource preact */
import { useSignal } from "@preact/signals";
import { mayLeave } from "../session";
import { BlockedDialog, DevicesDialog, PasswordDialog } from "./account";
import type { Chat } from "./chat";
import { Confirm } from "./dialog";
import { Menu } from "./menu";
import { canNotify, isNotifying, toggleNotifications } from "./notifications";
import type { Person } from "./operations";
import { inPlace, Name } from "./parts";
import { addressOf } from "./route";

const DIALOGS = { password: PasswordDialog, devices: DevicesDialog, blocked: BlockedDialog };

interface ReaderProps {
  chat: Chat;
  hasAccounts: boolean;
  /** Is the reader no longer. */
  leave: () => void;
}

export function ReaderMenu({ chat, hasAccounts, leave }: ReaderProps) {
  const shown = useSignal<keyof typeof DIALOGS | null>(null);
  const Shown = shown.value && DIALOGS[shown.value];
  const leaveIfWanted = async () => (await mayLeave()) && leave();
  return (
    <>
      <Menu id="reader-menu" label="Your menu">
        <Notifications />
        {hasAccounts ? (
          <>
            <button type="button" onClick={() => (shown.value = "password")}>
              Change password
            </button>
            <button type="button" onClick={() => (shown.value = "devices")}>
              Devices
            </button>
            <button type="button" onClick={() => (shown.value = "blocked")}>
              Blocked people
            </button>
            <button type="button" onClick={leaveIfWanted}>
              Sign out
            </button>
          </>
        ) : (
          <a href={addressOf({})} onClick={inPlace(leaveIfWanted)}>
            Change person
          </a>
        )}
      </Menu>
      {Shown && <Shown chat={chat} close={() => (shown.value = null)} />}
    </>
  );
}

function Notifications() {
  const isRefused = useSignal(false);
  if (!canNotify) return null;
  const toggle = async () => (isRefused.value = !(await toggleNotifications()));
  const state = isRefused.value ? "the browser does not allow them" : isNotifying.value ? "on" : "off";
  return (
    <button type="button" role="switch" aria-checked={isNotifying.value} onClick={toggle}>
      Notifications: {state}
    </button>
  );
}

export function PeerMenu({ chat, peer }: { chat: Chat; peer: Person }) {
  const isAsking = useSignal(false);
  return (
    <>
      <Menu id="peer-menu" label="About this person">
        <button type="button" onClick={() => (isAsking.value = true)}>
          Block <Name of={peer} />
        </button>
      </Menu>
      {isAsking.value && (
        <Confirm
          title={`Block ${peer.name}?`}
          doing="Block"
          action={() => chat.block(peer.id)}
          close={() => (isAsking.value = false)}
        >
          <p>You can no longer write to each other, nor see whether the other one is online.</p>
          <p>In your menu, under “Blocked people”, you can take it back.</p>
        </Confirm>
      )}
    </>
  );
}
