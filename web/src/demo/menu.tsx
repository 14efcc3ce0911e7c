// A button that opens a small menu.
/** @jsxImportSource preact */
import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { stepThrough } from "./keys";

interface MenuProps {
  id: string;
  label: string;
  /** Buttons and links: any of them closes the menu. */
  children: ComponentChildren;
}

export function Menu({ id, label, children }: MenuProps) {
  const button = useRef<HTMLButtonElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const items = () => [...list.current!.querySelectorAll<HTMLElement>("button, a")];
  /** Below its button: it belongs to no other element of the page. */
  function place() {
    const { bottom, right } = button.current!.getBoundingClientRect();
    list.current!.style.top = `${bottom + 4}px`;
    list.current!.style.right = `${Math.max(8, document.documentElement.clientWidth - right)}px`;
  }
  return (
    <>
      <button ref={button} type="button" class="icon" aria-label={label} popovertarget={id}>
        <span aria-hidden="true">⋮</span>
      </button>
      <div
        ref={list}
        id={id}
        class="menu"
        role="group"
        aria-label={label}
        popover="auto"
        onBeforeToggle={place}
        onToggle={(event) => event.newState === "open" && items()[0]?.focus()}
        onKeyDown={(event) => stepThrough(event, items())}
        // Before what was chosen is done: it may take away the menu.
        onClickCapture={() => list.current!.hidePopover()}
      >
        {children}
      </div>
    </>
  );
}
