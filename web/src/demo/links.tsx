// The text of a message, with the links in it.
/** @jsxImportSource preact */

/** Until a blank or such; characters that turn the direction of writing would show another address than is opened. */
const LINK = /https?:\/\/[^\s<>"、。，；：！？）」』】\u202a-\u202e\u2066-\u2069]+/giu;
/** What follows a link in a sentence is no part of it. */
const PUNCTUATION = /[.,;:!?'’”»…]/u;
const BRACKETS: Record<string, string> = { ")": "(", "]": "[", "}": "{" };

export function Linked({ text }: { text: string }) {
  const parts = [];
  let end = 0;
  for (const { 0: found, index } of text.matchAll(LINK)) {
    const link = withoutPunctuation(found);
    const href = hrefOf(link);
    if (!href) continue;
    parts.push(
      text.slice(end, index),
      <a href={href} target="_blank" rel="noopener noreferrer nofollow" dir="ltr">
        {link}
      </a>,
    );
    end = index + link.length;
  }
  return (
    <>
      {parts}
      {text.slice(end)}
    </>
  );
}

function withoutPunctuation(link: string): string {
  const count = (character: string) => link.split(character).length - 1;
  const closing = new Map(Object.entries(BRACKETS).map(([close, open]) => [close, count(close) - count(open)]));
  let end = link.length;
  for (let last; (last = link[end - 1]!); end--) {
    const surplus = closing.get(last);
    if (surplus && surplus > 0) closing.set(last, surplus - 1);
    else if (!PUNCTUATION.test(last)) break;
  }
  return link.slice(0, end);
}

/** Null for what is no address, and for one with a name before its host, which looks like another host. */
function hrefOf(link: string): string | null {
  if (!URL.canParse(link)) return null;
  const { href, username, password } = new URL(link);
  return username || password ? null : href;
}
