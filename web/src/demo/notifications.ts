// Notifications on the desktop of what comes while the reader looks elsewhere: if they want them, and the browser lets us.
import { signal } from "@preact/signals";
import { local } from "../storage";
import type { Person } from "./operations";
import { oneLine } from "./format";
import { go } from "./route";

const KEY = "duologue:notifications";

/** A browser has none on a page that came over plain HTTP from another machine. */
export const canNotify = "Notification" in globalThis && isSecureContext;

const isWanted = local.read(KEY) === "on";
export const isNotifying = signal(canNotify && isWanted && Notification.permission === "granted");

/** Turns them on or off. False if the browser was told before not to show any. */
export async function toggleNotifications(): Promise<boolean> {
  const permission = isNotifying.value ? Notification.permission : await Notification.requestPermission();
  isNotifying.value = !isNotifying.value && permission === "granted";
  local.write(KEY, isNotifying.value ? "on" : "off");
  return permission === "granted";
}

export function notify(sender: Person, content: string) {
  if (!isNotifying.value || (document.visibilityState === "visible" && document.hasFocus())) return;
  try {
    // One for each conversation, from however many windows it comes.
    const options = { body: oneLine(content), tag: `duologue ${sender.id}`, icon: "/icon.svg" };
    const notification = new Notification(sender.name, options);
    notification.onclick = () => {
      window.focus();
      go({ with: sender.id });
      notification.close();
    };
  } catch {
    // Android has them only for pages with a service worker.
    isNotifying.value = false;
  }
}
