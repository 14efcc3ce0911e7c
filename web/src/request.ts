// A request over HTTP, as all pages make it.

interface Options extends RequestInit {
  headers?: Record<string, string>;
  /** By what it is made, such as one that adds the token. */
  fetch?: typeof fetch;
}

export function postGraphQL(query: string, variables: object = {}, { fetch = globalThis.fetch, ...options }: Options = {}) {
  const headers = { "content-type": "application/json", accept: "application/json", ...options.headers };
  return fetch("/graphql", { ...options, method: "POST", headers, body: JSON.stringify({ query, variables }) });
}
