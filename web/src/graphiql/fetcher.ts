// How GraphiQL asks the server. What goes wrong on the way is told in one sentence, and not as an error of a program.
import { createGraphiQLFetcher, type Fetcher, isAsyncIterable } from "@graphiql/toolkit";
import { type DocumentNode, type ExecutionResult, getOperationAST, parse } from "graphql";
import { authorizedFetch, connectionParams } from "../session";

const AWAY = "The server cannot be reached. Start it, or wait a moment, and run this again.";
const NO_JSON = "Something else than this server has answered: what came is no JSON.";

type Heard = (operation: string, data: unknown, variables: Record<string, unknown>) => void;

/** `heard` is told of each answer to a named operation. */
export function createFetcher(endpoint: string, socket: string, heard: Heard): Fetcher {
  const fetchAs = createGraphiQLFetcher({
    url: endpoint,
    fetch: authorizedFetch,
    subscriptionUrl: socket,
    wsConnectionParams: connectionParams,
    // Neither @defer nor @stream here: ask for plain JSON.
    enableIncrementalDelivery: false,
  });
  return async (params, options) => {
    const documentAST = parsed(params.query);
    // Right after a change of tabs GraphiQL still names the operation of the tab before: the only one of this tab is meant.
    const operation = documentAST && (getOperationAST(documentAST, params.operationName) ?? getOperationAST(documentAST));
    const operationName = operation?.name?.value;
    try {
      const answer = await fetchAs({ ...params, operationName }, { ...options, documentAST });
      if (isAsyncIterable(answer)) return withSentences(answer as AsyncIterable<ExecutionResult>);
      const { data } = answer as ExecutionResult;
      if (operationName && data) heard(operationName, data, params.variables ?? {});
      return answer;
    } catch (error) {
      return inOneSentence(error);
    }
  };
}

function parsed(query: string): DocumentNode | undefined {
  try {
    return parse(query);
  } catch {
    // The server will say what is wrong with it.
    return undefined;
  }
}

/** In the form of an answer. `fetch` fails with a TypeError, and a socket with a code below 4000, where nobody answers. */
function inOneSentence(error: unknown): ExecutionResult {
  const { message } = error as Error;
  const isAway = error instanceof TypeError || /^Socket closed with event 1\d{3}/.test(message);
  const sentence = isAway ? AWAY : error instanceof SyntaxError ? NO_JSON : message;
  return { errors: [{ message: sentence }] } as unknown as ExecutionResult;
}

/** The same events, and a sentence in place of an error. It can be ended while it waits, as a generator cannot. */
function withSentences(events: AsyncIterable<ExecutionResult>): AsyncIterableIterator<ExecutionResult> {
  const inner = events[Symbol.asyncIterator]();
  let isOver = false;
  const outer: AsyncIterableIterator<ExecutionResult> = {
    [Symbol.asyncIterator]: () => outer,
    async next() {
      if (isOver) return { done: true, value: undefined };
      try {
        return await inner.next();
      } catch (error) {
        isOver = true;
        return { done: false, value: inOneSentence(error) };
      }
    },
    async return() {
      isOver = true;
      return (await inner.return?.()) ?? { done: true, value: undefined };
    },
  };
  return outer;
}
