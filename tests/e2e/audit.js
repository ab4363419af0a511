// What everybody needs of a page, as far as a script can tell: an expression, the page's answer as JSON.
(() => {
  const all = selector => [...document.querySelectorAll(selector)]
  const numbers = text => text.match(/[\d.]+/g).map(Number)
  const linear = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
  const light = colour => {
    const [red, green, blue] = numbers(colour).map(linear)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
  }
  const behind = item => {
    for (; item; item = item.parentElement) {
      const colour = getComputedStyle(item).backgroundColor
      if (!/, 0\)$/.test(colour)) return colour
    }
    return 'rgb(255, 255, 255)'
  }
  // WCAG 2.2, 1.4.3
  const poor = item => {
    if (!item.checkVisibility() || item.closest('[aria-hidden]') || item.matches('.skip, .hidden')) return false
    const [more, less] = [light(getComputedStyle(item).color), light(behind(item))].sort((a, b) => b - a)
    return (more + 0.05) / (less + 0.05) < 4.5
  }
  const fields = all('input:not([type=hidden])')
  return JSON.stringify({
    title: document.title,
    lang: document.documentElement.lang,
    headings: all('h1').length,
    landmarks: ['body > header', 'header > nav', 'body > main', 'body > footer'].map(name => all(name).length),
    unlabelled: fields.filter(field => !field.labels.length).map(field => field.outerHTML),
    mute: all('button, a').filter(item => !item.textContent.trim()).map(item => item.outerHTML),
    small: all('button, .button').concat(fields).filter(item => item.offsetHeight < 44).map(item => item.outerHTML),
    pale: all('h1, h2, h3, p, a, button, label, strong, span, dt, dd, input').filter(poor).map(item => item.outerHTML),
    wide: document.documentElement.scrollWidth > innerWidth,
  })
})()
