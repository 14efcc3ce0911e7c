// What is told of messages of others: that they have arrived here, and that they were read. The feed tells what follows from that; what
// fails is made good by the next mark.
import { useEffect, useState } from "react";
import { ask } from "./connection";
import { MarkDelivered, MarkRead } from "./documents";
import type { Row } from "./state";

/** Marks are set when nothing newer has come for so long, in milliseconds: they cover all that is before them. */
const MOMENT = 300;

/** Marks as delivered what has come to the inbox. */
export function useMarkDelivered(me: string, rows: Row[]): void {
  const news = rows.filter(({ lastMessage: last }) => last?.status === "SENT" && last.sender?.id !== me);
  const newest = news.map(({ lastMessage }) => lastMessage!.id).join(" ");
  useEffect(() => {
    if (!newest) return;
    const mark = (id: string) => void ask(MarkDelivered, { me, newest: id }).catch(() => {});
    const timer = setTimeout(() => newest.split(" ").forEach(mark), MOMENT);
    return () => clearTimeout(timer);
  }, [me, newest]);
}

/** Marks as read what somebody sees: not while the page is behind others. */
export function useMarkRead(me: string, newest: string | undefined): void {
  const [isVisible, setVisible] = useState(document.visibilityState === "visible");
  useEffect(() => {
    const look = () => setVisible(document.visibilityState === "visible");
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, []);
  useEffect(() => {
    if (!newest || !isVisible) return;
    const timer = setTimeout(() => void ask(MarkRead, { me, newest }).catch(() => {}), MOMENT);
    return () => clearTimeout(timer);
  }, [me, newest, isVisible]);
}
