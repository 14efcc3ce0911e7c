// What is asked or shown before the rest of the page can be used again.
/** @jsxImportSource preact */
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { useAction } from "./action";
import type { Chat } from "./chat";
import { focusComposer } from "./composer";
import { oneLine } from "./format";
import { useKeptFocus } from "./keys";
import type { Entry } from "./model";

interface DialogProps {
  title: string;
  /** What the button says that does nothing more. */
  closing?: string;
  /** Other buttons. */
  buttons?: ComponentChildren;
  close: () => void;
  children: ComponentChildren;
}

export function Dialog({ title, closing = "Close", buttons, close, children }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current!.showModal(), []);
  useKeptFocus(dialog);
  return (
    <dialog ref={dialog} tabIndex={-1} aria-labelledby="dialog-title" onClose={close}>
      <h2 id="dialog-title">{title}</h2>
      {children}
      <div class="buttons">
        <button type="button" onClick={() => dialog.current!.close()}>
          {closing}
        </button>
        {buttons}
      </div>
    </dialog>
  );
}

interface ConfirmProps {
  title: string;
  /** What is done. */
  doing: string;
  action: () => Promise<void>;
  close: () => void;
  children: ComponentChildren;
}

export function Confirm({ title, doing, action, close, children }: ConfirmProps) {
  const ref = useRef<HTMLButtonElement>(null);
  // `close` is called when it has closed, and not before: while it is open nothing else takes the focus.
  const { run, isBusy, trouble } = useAction(() => action().then(() => ref.current?.closest("dialog")!.close()));
  const button = (
    <button ref={ref} type="button" class="danger" aria-disabled={isBusy} onClick={() => run()}>
      {doing}
    </button>
  );
  return (
    <Dialog title={title} closing="Cancel" buttons={button} close={close}>
      {children}
      {trouble}
    </Dialog>
  );
}

interface DeleteProps {
  chat: Chat;
  conversation: string;
  entry: Entry;
  close: () => void;
}

export function DeleteDialog({ chat, conversation, entry, close }: DeleteProps) {
  const done = () => {
    close();
    focusComposer();
  };
  return (
    <Confirm
      title="Delete this message?"
      doing="Delete"
      action={() => chat.delete(conversation, entry.id)}
      close={done}
    >
      <blockquote dir="auto">{oneLine(entry.content)}</blockquote>
      <p>It is deleted for both of you.</p>
    </Confirm>
  );
}
