// The page as it is used with the keyboard.
import type { RefObject } from "preact";
import { useLayoutEffect } from "preact/hooks";

/** A key that belongs to a character that is being put together, as in Chinese. Safari tells it by its code (WebKit bug 165004). */
export const isComposing = (event: KeyboardEvent) => event.isComposing || event.keyCode === 229;

/** Who was at something in this part of the page that is not there any more is at the part itself. */
export function useKeptFocus(part: RefObject<HTMLElement | null>) {
  const isInside = part.current?.contains(document.activeElement);
  useLayoutEffect(() => {
    if (isInside && document.activeElement === document.body) part.current?.focus({ preventScroll: true });
  });
}

/** Moves the focus to the next or the one before of these elements, for an arrow key. */
export function stepThrough(event: KeyboardEvent, stops: HTMLElement[]) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const place = stops.indexOf(document.activeElement as HTMLElement);
  const next = step && place >= 0 && !isComposing(event) && stops[place + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}

/** The rows of the list in this part of the page; none while what was typed last is not found yet. */
const rowsIn = (part: HTMLElement) => [...part.querySelectorAll<HTMLElement>(".rows:not([aria-busy=true]) a.row")];

/** For a part of the page with fields to search and one list: the arrow keys go from the field through the rows and back. */
export function stepThroughRows(event: KeyboardEvent, part: HTMLElement) {
  const fields = [...part.querySelectorAll<HTMLInputElement>("input[type=search]")];
  const field = fields.find((its) => its === document.activeElement) ?? fields.find(({ value }) => value) ?? fields[0]!;
  stepThrough(event, [field, ...rowsIn(part)]);
}

/** Opens the first row. */
export const openFirst = (part: HTMLElement) => rowsIn(part)[0]?.click();

/** For a field that searches by itself: Enter opens the first row of this part of the page. */
export function onEnter(part: { current: HTMLElement | null }) {
  return (event: KeyboardEvent) => {
    if (event.key !== "Enter" || isComposing(event)) return;
    // The row may take away what is here.
    event.stopPropagation();
    openFirst(part.current!);
  };
}
