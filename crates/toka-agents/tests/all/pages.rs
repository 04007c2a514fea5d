//! The text of pages.

use toka_agents::indexer::chunk::chunks;
use toka_agents::indexer::extract::extract;
use toka_agents::indexer::html::strip;

fn check(html: &str, text: &str) {
    assert_eq!(strip(html).text, text, "{html}");
}

#[test]
fn markup_is_left_out() {
    check("<p>one</p><p>two <b>bold</b>er</p>", "one\n\ntwo bolder");
    check("a<br>b<br/>c", "a\nb\nc");
    check("<ul><li>one<li>two</ul>after", "one\ntwo\n\nafter");
    check("<table><tr><td>a<td>b<tr><td>c</table>", "a b\nc");
    check("<script>if (a < b) { '</p>' }</script>x<style>p{}</style>y<SCRIPT>z</SCRIPT >", "xy");
    check("a<!-- <p>no</p> -->b<!---->c<!-->d", "abcd");
    check("<![CDATA[1 < 2 &amp; 3]]> end", "1 < 2 &amp; 3 end");
    check("<?xml version='1.0'?><!DOCTYPE html>text", "text");
    check("<a href=\"x>y\" title='>'>link</a>", "link");
    check("1 < 2 and <3 </ p> </3", "1 < 2 and <3 </ p> </3");
    check("<template><p>t</p></template><noscript>n</noscript><svg><text>s</text></svg>kept", "kept");
    check("<svg/>kept", "kept");
    check("<p>  spaces \n\t and\n lines  </p>", "spaces and lines");
    check("<pre>\n  a\n    b  c\n</pre>x", "  a\n    b  c\n\nx");
    check("no markup", "no markup");
}

#[test]
fn entities_are_decoded() {
    check("&lt;p&gt; &amp;amp; &quot;&apos;&eacute;&Eacute;&mdash;&hellip;", "<p> &amp; \"'éÉ—…");
    check("&#65;&#x42;&#X63;&#150;&#0;&#xD800;&#1114112;&#65x", "ABc–\u{fffd}\u{fffd}\u{fffd}Ax");
    check("a&nbsp;b&nbsp;&nbsp;c", "a b c");
    check("&unknown; & &; &# &#x; &ampersand R&D;", "&unknown; & &; &# &#x; &ampersand R&D;");
}

#[test]
fn unfinished_markup_loses_little() {
    check("text <a href=\"unclosed", "text");
    check("<p title=\"unclosed>one</p><p>two</p>", "one\n\ntwo");
    check("one<!-- never closed > two", "one two");
    check("one<script>never closed", "one");
    check("one<svg>two", "onetwo");
    check("<title>never closed <p>text", "never closed\n\ntext");
    check("<", "<");
    check("a</", "a</");
    check("<p", "");
}

#[test]
fn lines_are_those_of_the_page() {
    let long = "several words ".repeat(60);
    let page = format!(
        "<html>\n<head><title>The\nTitle</title>\n<script>\n\n</script></head>\n<h1>The Title</h1>\n<p>{long}\n</p>\n<h2>Part\n &amp; more</h2>\n<div>\n{long}\n</div>\n"
    );
    let document = extract(b"a.html", page.as_bytes()).unwrap();
    assert_eq!(document.title.as_deref(), Some("The Title"));
    let found: Vec<_> = chunks(&document).into_iter().map(|c| (c.lines, c.heading.unwrap())).collect();
    assert_eq!(found, [((2, 8), "The Title".to_owned()), ((10, 13), "The Title > Part & more".to_owned())]);
}

#[test]
fn long_paragraphs_know_their_lines() {
    let page: String = (1..=200).map(|i| format!("line {i} of one paragraph without end\n")).collect();
    let found = chunks(&extract(b"a.html", format!("<p>{page}").as_bytes()).unwrap());
    assert!(found.len() > 3);
    for chunk in found {
        let numbers: Vec<u32> = chunk.text.split(' ').filter_map(|word| word.parse().ok()).collect();
        let (first, last) = (numbers[0], *numbers.last().unwrap());
        assert!(
            chunk.lines.0 <= first && first <= chunk.lines.0 + 1,
            "{:?} begins with {first}",
            chunk.lines
        );
        assert!(last <= chunk.lines.1 && chunk.lines.1 <= last + 1, "{:?} ends with {last}", chunk.lines);
    }
}

#[test]
fn nesting_costs_nothing() {
    for tag in [
        "div",
        "b",
        "ul><li",
        "table><tr><td",
        "pre",
        "h1",
        "svg",
        "template",
        "title",
        "blockquote",
        "font color='red'",
    ] {
        let name = tag.split(' ').next().unwrap();
        let page =
            format!("{}deep{}", format!("<{tag}>").repeat(20_000), format!("</{name}>").repeat(20_000));
        let found = chunks(&extract(b"a.html", page.as_bytes()).unwrap());
        let is_raw = matches!(tag, "svg" | "template");
        assert!(is_raw || found.iter().any(|chunk| chunk.text.contains("deep")), "{tag}");
    }
}

#[test]
fn hostile_markup_takes_linear_time() {
    let n = 100_000;
    for unit in [
        "<",
        "<a \"",
        "<a =\"",
        "<a ='\">",
        "<!--",
        "<!",
        "<![CDATA[",
        "<svg>",
        "<script ",
        "</",
        "<title>",
        "<h1>",
        "&",
        "&#",
        "<pre> ",
        "<a b='",
        "<?",
    ] {
        let page = unit.repeat(n);
        assert!(strip(&page).text.len() <= page.len());
    }
}
