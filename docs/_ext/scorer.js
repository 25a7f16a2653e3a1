// The order of search results: a page is first whose headings have most words of the query. Sphinx's own order counts
// the best word alone, so "refresh token reuse" lists all pages with "token" in a heading, by name.
var Scorer = {
  score: ([docname, title, anchor, descr, score, filename, kind]) => {
    if (kind === SearchResultKind.title) return score + 40; // a heading with the whole query
    if (kind !== SearchResultKind.text) return score;
    const query = new URLSearchParams(window.location.search).get("q") || "";
    const words = [...Search._parseQuery(query)[1]];
    const file = Search._index.docnames.indexOf(docname);
    const inHeading = (word) =>
      Object.hasOwn(Search._index.titleterms, word)
      && [Search._index.titleterms[word]].flat().includes(file);
    const inTitle = (word) => title.toLowerCase().includes(word);
    return words.reduce(
      (sum, word) => sum + (inHeading(word) ? 10 : 1) + (inTitle(word) ? 5 : 0), 0,
    );
  },
  // What follows is as in Sphinx.
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
