// GraphiQL nests buttons in what it calls tabs, which keyboards and screen readers cannot use (ARIA in HTML: a tab has no
// interactive content). Here they become what they are: a list of buttons, one of which is current.

/** Keeps the tabs mended as GraphiQL changes them. */
export function mendTabs(app: HTMLElement) {
  const mend = () => {
    for (const list of app.querySelectorAll(".graphiql-tabs[role]")) list.removeAttribute("role");
    for (const panel of app.querySelectorAll("[role=tabpanel]")) panel.setAttribute("role", "region");
    for (const tab of app.querySelectorAll(".graphiql-tab[aria-selected]")) {
      tab.querySelector(".graphiql-tab-button")?.setAttribute("aria-current", tab.getAttribute("aria-selected")!);
      tab.removeAttribute("aria-selected");
      tab.removeAttribute("role");
    }
  };
  new MutationObserver(mend).observe(app, { subtree: true, childList: true, attributeFilter: ["aria-selected"] });
}
